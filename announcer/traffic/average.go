package traffic

import (
	"math"
	"time"
)

// average is a moving average of a rate whose samples may come at any pace: what was measured a while ago weighs exp(-age/constant). It
// begins with its first sample, not with zero. The zero value is ready for use.
type average struct {
	sum, weight float64
}

// add takes in that the rate was so much for so long.
func (a *average) add(rate float64, length, constant time.Duration) {
	if length <= 0 {
		return
	}
	share := -math.Expm1(-length.Seconds() / constant.Seconds())
	a.sum += share * (rate - a.sum)
	a.weight += share * (1 - a.weight)
}

// rate is the average; 0 before the first sample.
func (a average) rate() float64 {
	if a.weight == 0 {
		return 0
	}
	return a.sum / a.weight
}
