package policy

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func window(t interface{ Fatal(...any) }, schedule, zone string, open time.Duration) Window {
	w, err := NewWindow(schedule, zone, open)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestNightlyWindowOverAYear walks through a year in steps of ten minutes, which meet all ends of the windows and all jumps of clocks: a window of half an hour at three in the morning is open
// on every day, from three by the zone's clock, for half an hour, summer time or not.
func TestNightlyWindowOverAYear(t *testing.T) {
	for _, name := range []string{"Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "UTC"} {
		t.Run(name, func(t *testing.T) {
			w, loc := window(t, "0 3 * * *", name, 30*time.Minute), zone(t, name)
			opened, steps := map[string]bool{}, 0
			for now := time.Date(2026, 1, 1, 0, 0, 0, 0, loc); now.Year() == 2026; now = now.Add(10 * time.Minute) {
				until, open := w.OpenUntil(now)
				shown := now.In(loc)
				if want := shown.Hour() == 3 && shown.Minute() < 30; open != want {
					t.Fatalf("at %s open is %t", shown, open)
				}
				if !open {
					continue
				}
				steps++
				opened[shown.Format(time.DateOnly)] = true
				if want := time.Date(shown.Year(), shown.Month(), shown.Day(), 3, 30, 0, 0, loc); !until.Equal(want) {
					t.Fatalf("at %s it is open until %s, want %s", shown, until, want)
				}
			}
			if len(opened) != 365 || steps != 365*3 {
				t.Errorf("open on %d days in %d steps, want 365 days and %d steps", len(opened), steps, 365*3)
			}
		})
	}
}

func TestOpenUntil(t *testing.T) {
	const hour, minute = time.Hour, time.Minute
	tests := []struct {
		name, schedule, zone string
		open                 time.Duration
		now, until, next     string // until is empty where it is closed
	}{
		{"before it opens", "0 3 * * *", "Asia/Shanghai", 30 * minute, "2026-05-01T18:59:59Z", "", "2026-05-01T19:00:00Z"},
		{"as it opens", "0 3 * * *", "Asia/Shanghai", 30 * minute, "2026-05-01T19:00:00Z", "2026-05-01T19:30:00Z", "2026-05-02T19:00:00Z"},
		{"as it closes", "0 3 * * *", "Asia/Shanghai", 30 * minute, "2026-05-01T19:30:00Z", "", "2026-05-02T19:00:00Z"},
		{"over midnight", "0 23 * * *", "UTC", 2 * hour, "2026-05-02T00:59:00Z", "2026-05-02T01:00:00Z", "2026-05-02T23:00:00Z"},
		{"a weekend", "0 0 * * 6", "UTC", 48 * hour, "2026-05-03T23:59:00Z", "2026-05-04T00:00:00Z", "2026-05-09T00:00:00Z"},
		{"two openings of one window that overlap", "0 * * * *", "UTC", 90 * minute, "2026-05-01T10:10:00Z", "2026-05-01T11:30:00Z", "2026-05-01T11:00:00Z"},
		{"in an hour that is skipped: when the clock has jumped", "30 2 * * *", "Europe/Berlin", 30 * minute, "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		{"in an hour that comes twice: the first time", "30 2 * * *", "Europe/Berlin", 30 * minute, "2026-10-25T00:45:00Z", "2026-10-25T01:00:00Z", "2026-10-26T01:30:00Z"},
		{"in an hour that comes twice: not the second time", "30 2 * * *", "Europe/Berlin", 30 * minute, "2026-10-25T01:45:00Z", "", "2026-10-26T01:30:00Z"},
		{"an hour that comes twice inside it makes it no longer", "0 1 * * *", "America/New_York", 2 * hour, "2026-11-01T06:59:00Z", "2026-11-01T07:00:00Z", "2026-11-02T06:00:00Z"},
		{"a leap day", "0 0 29 2 *", "UTC", hour, "2026-01-01T00:00:00Z", "", "2028-02-29T00:00:00Z"},
		{"no zone is UTC", "0 3 * * *", "", hour, "2026-05-01T03:00:00Z", "2026-05-01T04:00:00Z", "2026-05-02T03:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := window(t, tt.schedule, tt.zone, tt.open)
			until, open := w.OpenUntil(at(tt.now))
			if open != (tt.until != "") || open && !until.Equal(at(tt.until)) {
				t.Errorf("open is %t, until %s; want until %q", open, until.UTC(), tt.until)
			}
			if next := w.Next(at(tt.now)); !next.Equal(at(tt.next)) {
				t.Errorf("opens next at %s, want %s", next.UTC(), tt.next)
			}
		})
	}
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestSeveralWindows(t *testing.T) {
	windows := []Window{window(t, "0 3 * * *", "UTC", 30*time.Minute), window(t, "15 3 * * *", "UTC", time.Hour)}
	if until, open := OpenUntil(windows, at("2026-05-01T03:20:00Z")); !open || !until.Equal(at("2026-05-01T04:15:00Z")) {
		t.Errorf("open %t until %s", open, until)
	}
	if next := NextOpening(windows, at("2026-05-01T03:00:00Z")); !next.Equal(at("2026-05-01T03:15:00Z")) {
		t.Errorf("next %s", next)
	}
	if _, open := OpenUntil(nil, at("2026-05-01T03:20:00Z")); open || !NextOpening(nil, time.Now()).IsZero() {
		t.Error("no window is never open")
	}
}

func TestNewWindow(t *testing.T) {
	tests := map[string]struct {
		schedule, zone string
		open           time.Duration
		want           string
	}{
		"names of days and months":   {"*/15 0-6 * jan-mar MON,wed", "Europe/Berlin", time.Hour, ""},
		"four fields":                {"0 3 * *", "", time.Hour, "schedule"},
		"six fields":                 {"0 0 3 * * *", "", time.Hour, "schedule"},
		"a name":                     {"@daily", "", time.Hour, "schedule"},
		"a zone in the schedule":     {"TZ=Asia/Shanghai 0 3 * * *", "", time.Hour, "schedule"},
		"a zone and nothing more":    {"TZ=UTC", "", time.Hour, "schedule"},
		"no schedule":                {"", "", time.Hour, "schedule"},
		"Sunday as 7":                {"0 3 * * 7", "", time.Hour, "from 0 for Sunday"},
		"minute 60":                  {"60 3 * * *", "", time.Hour, "schedule"},
		"a day that never comes":     {"0 0 31 2 *", "", time.Hour, "never comes"},
		"an empty list":              {", 3 * * *", "", time.Hour, "never comes"},
		"a step of nothing":          {"*/0 3 * * *", "", time.Hour, "schedule"},
		"no such zone":               {"0 3 * * *", "Mars/Olympus", time.Hour, "IANA"},
		"the controller's own zone":  {"0 3 * * *", "Local", time.Hour, "IANA"},
		"a path":                     {"0 3 * * *", "../../etc/passwd", time.Hour, "IANA"},
		"no duration":                {"0 3 * * *", "", 0, "duration"},
		"a negative duration":        {"0 3 * * *", "", -time.Hour, "duration"},
		"a duration beyond a week":   {"0 3 * * *", "", 169 * time.Hour, "duration"},
		"everything wrong at a time": {"x", "y", -1, "timeZone"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewWindow(tt.schedule, tt.zone, tt.open)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

// TestNextAndOpenAgree: a window is open right after it opens, is closed right before unless an earlier opening lasts, and what
// Next names is later than it was asked for.
func TestNextAndOpenAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		schedule := rapid.SampledFrom([]string{"0 3 * * *", "*/20 * * * *", "30 2 * * *", "45 1 * * 0", "15 2 1 * *", "0 0 * * *"}).Draw(t, "schedule")
		name := rapid.SampledFrom([]string{"UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}).Draw(t, "zone")
		w := window(t, schedule, name, time.Duration(rapid.IntRange(1, 10000).Draw(t, "minutes"))*time.Minute)
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 366*24*3600).Draw(t, "second")) * time.Second)
		next := w.Next(now)
		if !next.After(now) {
			t.Fatalf("%s comes after %s", next, now)
		}
		if until, open := w.OpenUntil(next); !open || !until.Equal(next.Add(w.open)) {
			t.Fatalf("at %s open is %t until %s", next, open, until)
		}
		until, open := w.OpenUntil(next.Add(-time.Second))
		if before := next.Add(-time.Second - w.open); open != w.Next(before).Before(next) && until.Before(next) {
			t.Fatalf("a second before %s open is %t", next, open)
		}
	})
}

// FuzzWindow: whatever people write, it is an error or a window that opens.
func FuzzWindow(f *testing.F) {
	f.Add("0 3 * * *", "Asia/Shanghai", int64(30*time.Minute))
	f.Add("TZ=UTC", "UTC", int64(time.Hour))
	f.Add("59/2,? 1-5 ? * sun", "Local", int64(1))
	f.Fuzz(func(t *testing.T, schedule, zone string, open int64) {
		w, err := NewWindow(schedule, zone, time.Duration(open))
		if err != nil {
			return
		}
		now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		next := w.Next(now)
		if !next.After(now) {
			t.Fatalf("%q opens at %s", schedule, next)
		}
		if _, isOpen := w.OpenUntil(next); !isOpen {
			t.Fatalf("%q is closed when it opens", schedule)
		}
	})
}
