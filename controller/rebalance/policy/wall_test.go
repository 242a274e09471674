package policy

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestOnClock(t *testing.T) {
	tests := map[string]struct{ zone, wall, want string }{
		"a usual time":                                  {"Asia/Shanghai", "2026-07-01 03:00", "2026-06-30T19:00:00Z"},
		"a zone of odd minutes":                         {"Asia/Kathmandu", "2026-07-01 03:00", "2026-06-30T21:15:00Z"},
		"Berlin skips 02:30, which is when it jumps":    {"Europe/Berlin", "2026-03-29 02:30", "2026-03-29T01:00:00Z"},
		"Berlin just before the jump":                   {"Europe/Berlin", "2026-03-29 01:59", "2026-03-29T00:59:00Z"},
		"Berlin just after the jump":                    {"Europe/Berlin", "2026-03-29 03:00", "2026-03-29T01:00:00Z"},
		"Berlin shows 02:30 twice, the first counts":    {"Europe/Berlin", "2026-10-25 02:30", "2026-10-25T00:30:00Z"},
		"Berlin shows 03:00 once":                       {"Europe/Berlin", "2026-10-25 03:00", "2026-10-25T02:00:00Z"},
		"New York skips 02:30":                          {"America/New_York", "2026-03-08 02:30", "2026-03-08T07:00:00Z"},
		"New York shows 01:30 twice, the first counts":  {"America/New_York", "2026-11-01 01:30", "2026-11-01T05:30:00Z"},
		"New York shows 02:00 once":                     {"America/New_York", "2026-11-01 02:00", "2026-11-01T07:00:00Z"},
		"Lord Howe skips half an hour":                  {"Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03T15:30:00Z"},
		"Lord Howe at 03:00 of that day":                {"Australia/Lord_Howe", "2026-10-04 03:00", "2026-10-03T16:00:00Z"},
		"Lord Howe shows 01:45 twice, the first counts": {"Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04T14:45:00Z"},
		"Lord Howe shows 02:00 once":                    {"Australia/Lord_Howe", "2026-04-05 02:00", "2026-04-04T15:30:00Z"},
		"Apia skipped a whole day":                      {"Pacific/Apia", "2011-12-30 12:00", "2011-12-30T10:00:00Z"},
		"Beirut skips midnight":                         {"Asia/Beirut", "2026-03-29 00:00", "2026-03-28T22:00:00Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wall, err := time.Parse("2006-01-02 15:04", tt.wall)
			if err != nil {
				t.Fatal(err)
			}
			if got := onClock(wall, zone(t, tt.zone)).UTC().Format(time.RFC3339); got != tt.want {
				t.Errorf("%s %s is %s, want %s", tt.zone, tt.wall, got, tt.want)
			}
		})
	}
}

// TestOnClockIsTheFirstMoment: no earlier moment shows the wall time, and the moment shows it unless the clock skips it.
func TestOnClockIsTheFirstMoment(t *testing.T) {
	zones := []string{"UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca"}
	rapid.Check(t, func(t *rapid.T) {
		loc := zone(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		wall := time.Date(2008, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 25*365*24*60).Draw(t, "minute")) * time.Minute)
		got := onClock(wall, loc)
		shown := asWall(got, loc)
		if shown.Before(wall) {
			t.Fatalf("at %s the clock shows %s, before %s", got, shown, wall)
		}
		if before := asWall(got.Add(-time.Second), loc); !before.Before(wall) {
			t.Fatalf("a second before %s the clock shows %s already", got, before)
		}
		for back := time.Minute; back <= 3*time.Hour; back += time.Minute {
			if asWall(got.Add(-back), loc).Equal(wall) {
				t.Fatalf("%s before %s the clock shows %s too", back, got, wall)
			}
		}
	})
}
