package lab

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Burn keeps every core of the machine busy until the returned function is called: it competes with the lab's programs as
// other workloads of a node would, at the same priority, one thread per core.
func Burn() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			runtime.LockOSThread()
			// The context is looked at a few hundred times a second; between that nothing is shared or allocated.
			for ctx.Err() == nil {
				begin := time.Now()
				for x := uint64(1); time.Since(begin) < 2*time.Millisecond; {
					for range 1 << 14 {
						x = x*6364136223846793005 + 1442695040888963407
					}
					burned(x)
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// burned keeps the compiler from leaving the work out.
//
//go:noinline
func burned(uint64) {}
