package policy

import (
	"encoding/json"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func moves(ages ...time.Duration) []v1alpha1.RebalanceMove {
	var list []v1alpha1.RebalanceMove
	for _, age := range ages {
		list = append(list, v1alpha1.RebalanceMove{VIP: "192-0-2-10", Time: metav1.NewMicroTime(noon.Add(-age))})
	}
	return list
}

func TestLeft(t *testing.T) {
	tests := []struct {
		name    string
		perHour int
		moves   []v1alpha1.RebalanceMove
		left    int
		again   time.Duration // from noon
	}{
		{"none was made", 3, nil, 3, 0},
		{"some were made", 3, moves(50*time.Minute, time.Minute), 1, 0},
		{"all were made: when the first is an hour old", 3, moves(50*time.Minute, 20*time.Minute, time.Minute), 0, 10 * time.Minute},
		{"one that is just an hour old counts no more", 3, moves(time.Hour, 20*time.Minute, time.Minute), 1, 0},
		{"the budget was larger when they were made", 1, moves(50*time.Minute, 20*time.Minute, time.Minute), 0, 59 * time.Minute},
		{"the record isn't in order", 2, moves(time.Minute, 50*time.Minute), 0, 10 * time.Minute},
		{"a clock that was a little ahead", 1, moves(-5 * time.Minute), 0, 65 * time.Minute},
		{"a clock that was a day ahead", 1, moves(-24 * time.Hour), 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			left, again := Policy{PerHour: tt.perHour}.Left(tt.moves, noon)
			var wait time.Duration
			if !again.IsZero() {
				wait = again.Sub(noon)
			}
			if left != tt.left || wait != tt.again {
				t.Errorf("%d left, again in %s; want %d, %s", left, wait, tt.left, tt.again)
			}
		})
	}
}

// TestBudgetIsNeverExceeded: leaders come and go, each with nothing but the record in the API, through which every move goes as
// JSON; some die between the record and the move. In no 60 minutes do more moves begin than the budget allows, and when Left says that
// one may begin again, one may.
func TestBudgetIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{PerHour: rapid.IntRange(1, 20).Draw(t, "perHour")}
		var stored []byte
		var begun []time.Time
		now := noon
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "wait")))
			var record []v1alpha1.RebalanceMove // another leader reads what there is
			if stored != nil {
				if err := json.Unmarshal(stored, &record); err != nil {
					t.Fatal(err)
				}
			}
			left, again := p.Left(record, now)
			if left == 0 {
				if !again.After(now) {
					t.Fatalf("nothing is left, again at %s, which is over", again)
				}
				if later, _ := p.Left(record, again); later == 0 {
					t.Fatalf("nothing is left at %s, when something was to be", again)
				}
				continue
			}
			var err error
			if stored, err = json.Marshal(Record(record, "192-0-2-10", now)); err != nil {
				t.Fatal(err)
			}
			if !rapid.Bool().Draw(t, "killed") {
				begun = append(begun, now)
			}
		}
		for i := p.PerHour; i < len(begun); i++ {
			if span := begun[i].Sub(begun[i-p.PerHour]); span < time.Hour {
				t.Fatalf("%d moves within %s", p.PerHour+1, span)
			}
		}
	})
}

func TestRecordForgetsWhatCountsNoMore(t *testing.T) {
	record := Record(moves(2*time.Hour, time.Hour, 59*time.Minute, -24*time.Hour), "192-0-2-11", noon.Add(time.Nanosecond))
	if len(record) != 2 || record[1].VIP != "192-0-2-11" || !record[1].Time.Time.Equal(noon.Add(time.Microsecond)) {
		t.Errorf("recorded %v", record)
	}
}
