package policy

import "time"

// A wall time is what a clock on the wall shows. It is written as a time in UTC, where no hour is skipped and none comes twice.

// asWall is what the zone's clock shows at a moment.
func asWall(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// onClock is the moment at which the zone's clock shows a wall time: the first one, where it shows it twice, and the moment at
// which the clock jumps, where it never shows it.
func onClock(wall time.Time, zone *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	begin, end := t.ZoneBounds()
	shown := asWall(t, zone)
	switch {
	case shown.Before(wall): // skipped: t is read by the offset of after the jump, and so comes before it
		return end
	case shown.After(wall): // skipped: read by the offset of before the jump
		return begin
	case begin.IsZero():
		return t
	}
	_, offset := begin.Add(-time.Second).Zone()
	if earlier := wall.Add(-time.Duration(offset) * time.Second); earlier.Before(begin) {
		return earlier.In(zone) // the clock has been put back since, and shows it a second time at t
	}
	return t
}
