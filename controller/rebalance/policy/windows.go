package policy

import (
	"fmt"
	"time"
	_ "time/tzdata" // the images hold nothing but the program

	"github.com/robfig/cron/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Window opens at times that a schedule names on a zone's clock, and stays open for a while.
type Window struct {
	// wall is read as a clock on the wall that knows no summer time. The cron library's own reading in a zone misses openings: where
	// the clock jumps by half an hour (Lord Howe), 03:00 of that day isn't found.
	wall cron.Schedule
	zone *time.Location
	open time.Duration
}

// Bounds of a window's duration.
const (
	minOpen = time.Minute
	maxOpen = 7 * 24 * time.Hour
)

var fiveFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// NewWindow reads a window. zone is an IANA name, UTC when empty.
func NewWindow(schedule, zone string, open time.Duration) (Window, error) {
	w, errs := windowOf(&v1alpha1.RebalanceWindow{Schedule: schedule, TimeZone: zone, Duration: durationOf(open)}, nil)
	return w, errs.ToAggregate()
}

func windowOf(spec *v1alpha1.RebalanceWindow, path *field.Path) (w Window, errs field.ErrorList) {
	w.open = spec.Duration.Duration
	if w.open < minOpen || w.open > maxOpen {
		errs = append(errs, field.Invalid(path.Child("duration"), w.open.String(), between(minOpen, maxOpen)))
	}
	var err error
	if w.zone, err = zoneOf(spec.TimeZone); err != nil {
		errs = append(errs, field.Invalid(path.Child("timeZone"), spec.TimeZone, err.Error()))
	}
	if w.wall, err = parse(spec.Schedule); err != nil {
		errs = append(errs, field.Invalid(path.Child("schedule"), spec.Schedule, err.Error()))
	}
	return w, errs
}

func zoneOf(name string) (*time.Location, error) {
	if name == "Local" { // the controller's, which no reader of the pool knows
		return nil, fmt.Errorf("must be an IANA name such as Europe/Berlin")
	}
	zone, err := time.LoadLocation(name) // "" is UTC
	if err != nil {
		return nil, fmt.Errorf("is no time zone: give an IANA name such as Europe/Berlin")
	}
	return zone, nil
}

// parse reads a schedule of five fields. The library also takes a zone in front, in which it panics when nothing follows.
func parse(text string) (cron.Schedule, error) {
	for _, r := range text {
		if r == '=' || r == '@' {
			return nil, fmt.Errorf("must be cron's five fields, without a zone or a name")
		}
	}
	schedule, err := fiveFields.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("must be cron's five fields (minute, hour, day of month, month, day of week from 0 for Sunday): %w", err)
	}
	// The library looks 5 years ahead, and 2024 has a leap day.
	if schedule.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("names a time that never comes")
	}
	return schedule, nil
}

// OpenUntil says whether the window is open at a moment, and until when.
func (w Window) OpenUntil(now time.Time) (until time.Time, open bool) {
	for opening := range w.openings(now.Add(-w.open - maxShift)) {
		if opening.After(now) {
			break
		}
		if end := opening.Add(w.open); end.After(now) {
			until, open = end, true
		}
	}
	return until, open
}

// Next returns when the window opens next, later than a moment.
func (w Window) Next(after time.Time) time.Time {
	for opening := range w.openings(after.Add(-maxShift)) {
		if opening.After(after) {
			return opening
		}
	}
	return time.Time{}
}

// maxShift is more than any clock was ever put forward or back: a zone that changes sides of the date line skips or repeats a day.
const maxShift = 25 * time.Hour

// openings are the openings from about a moment on, in order. None is missing that is maxShift later.
func (w Window) openings(from time.Time) func(yield func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		for wall := w.wall.Next(asWall(from, w.zone)); !wall.IsZero(); wall = w.wall.Next(wall) {
			if !yield(onClock(wall, w.zone)) {
				return
			}
		}
	}
}

// OpenUntil says whether any of the windows is open, and until when the last of the open ones is.
func OpenUntil(windows []Window, now time.Time) (until time.Time, open bool) {
	for _, w := range windows {
		if end, ok := w.OpenUntil(now); ok && end.After(until) {
			until, open = end, true
		}
	}
	return until, open
}

// NextOpening is when the first of the windows opens, later than a moment; zero without windows.
func NextOpening(windows []Window, after time.Time) time.Time {
	var first time.Time
	for _, w := range windows {
		if next := w.Next(after); !next.IsZero() && (first.IsZero() || next.Before(first)) {
			first = next
		}
	}
	return first
}
