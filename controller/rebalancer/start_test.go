package rebalancer

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"
)

func TestStartWaitsForTheLedgerSurveysAndEnds(t *testing.T) {
	w := aTown(t, nil, 4, 0)
	w.r.Clock = clock.RealClock{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.r.Start(ctx) }()
	w.r.Poke()
	w.r.Poke() // it doesn't block
	time.Sleep(2 * settle)
	w.wants("found before the ledger was open", w.r.Found().Missing, 0)
	w.ledger.Open()
	for deadline := time.Now().Add(20 * time.Second); w.r.Found().Missing == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	w.wants("found", w.r.Found().Missing, 2)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestMetricsOfTheLeader(t *testing.T) {
	w := aTown(t, nil, 4, 0)
	w.turn()
	elected := make(chan struct{})
	c := Collector{Rebalancer: w.r, Elected: elected}
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d metrics of one that doesn't lead", n)
	}
	close(elected)
	if err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP evenkeel_rebalance_held What holds moves back that would even out, by reason: pools, VIPs or nodes to which it applies.
# TYPE evenkeel_rebalance_held gauge
evenkeel_rebalance_held{reason="MovesUnderWay"} 1
# HELP evenkeel_rebalance_missing_moves Moves that would make VIPs even again and have not begun.
# TYPE evenkeel_rebalance_missing_moves gauge
evenkeel_rebalance_missing_moves 2
`)); err != nil {
		t.Error(err)
	}
}
