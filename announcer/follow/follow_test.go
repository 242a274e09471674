package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// told writes down what it is told.
type told struct {
	mu  sync.Mutex
	log []string
}

func (t *told) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = append(t.log, fmt.Sprintf(format, args...))
}

func (t *told) PodChanged(_ context.Context, pod *corev1.Pod) {
	t.say("%s %s", pod.UID, pod.Labels["is"])
}
func (t *told) PodGone(_ context.Context, pod *corev1.Pod) { t.say("%s gone", pod.UID) }
func (t *told) Synced(context.Context)                     { t.say("synced") }

func (t *told) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	log := t.log
	t.log = nil
	return log
}

func pod(name, uid, is string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(uid), Labels: map[string]string{"is": is},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}},
	}}
}

func list(pods ...*corev1.Pod) []any {
	var out []any
	for _, p := range pods {
		out = append(out, p)
	}
	return out
}

func TestAHandlerIsTold(t *testing.T) {
	tests := []struct {
		name string
		do   func(s *store) error
		want []string
	}{
		{"of every pod of a list, and then that it is complete", func(s *store) error { return s.Replace(list(pod("a", "1", "new"), pod("b", "2", "new")), "") }, []string{"1 new", "2 new", "synced"}},
		{"of what a watch brings", func(s *store) error {
			for _, err := range []error{s.Add(pod("a", "1", "new")), s.Update(pod("a", "1", "ready")), s.Delete(pod("a", "1", "ready"))} {
				if err != nil {
					return err
				}
			}
			return nil
		}, []string{"1 new", "1 ready", "1 gone"}},
		{"of what a later list no longer has", func(s *store) error {
			if err := s.Add(pod("a", "1", "new")); err != nil {
				return err
			}
			return s.Replace(list(pod("b", "2", "new")), "")
		}, []string{"1 new", "1 gone", "2 new", "synced"}},
		{"of the end of a pod whose name another one has now", func(s *store) error {
			if err := s.Add(pod("a", "1", "new")); err != nil {
				return err
			}
			return s.Replace(list(pod("a", "2", "new")), "")
		}, []string{"1 new", "1 gone", "2 new", "synced"}},
		{"of no pod that is gone already", func(s *store) error {
			if err := s.Add(pod("a", "1", "new")); err != nil {
				return err
			}
			if err := s.Delete(pod("a", "1", "new")); err != nil {
				return err
			}
			return s.Replace(nil, "")
		}, []string{"1 new", "1 gone", "synced"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			handler := &told{}
			if err := tt.do(newStore(t.Context(), handler)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, handler.take()); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSomethingElseThanAPodIsAnError(t *testing.T) {
	s := newStore(t.Context(), &told{})
	for _, err := range []error{s.Add("a pod"), s.Delete(nil), s.Replace([]any{&corev1.Node{}}, "")} {
		if err == nil {
			t.Error("no error")
		}
	}
}

// An API server that was away for long is found again within seconds, and asked no more often than that.
func TestAnAPIServerThatIsBackIsFoundSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// apimachinery paces logged errors by the clock of the process's start, from which the bubble's is years away.
		utilruntime.HandleError(errors.New("the first error in a bubble, which sleeps until then"))
		const outage = 10 * time.Minute
		var asked atomic.Int64
		var away atomic.Bool
		away.Store(true)
		client := fake.NewClientset()
		refuse := func(clienttesting.Action) bool {
			asked.Add(1)
			return away.Load()
		}
		client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
			return refuse(action), nil, fmt.Errorf("refused")
		})
		client.PrependWatchReactor("pods", func(action clienttesting.Action) (bool, watch.Interface, error) {
			return refuse(action), nil, fmt.Errorf("refused")
		})
		handler := &told{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Pods(ctx, client, "n", "node-1", handler)
		}()
		time.Sleep(outage)
		// A try is a watch, and a list where that is refused.
		if most := int64(2 * outage / retryMost); asked.Load() > most {
			t.Errorf("asked %d times within %v, want at most %d", asked.Load(), outage, most)
		}
		away.Store(false)
		time.Sleep(2*retryMost + time.Second)
		synctest.Wait()
		if log := handler.take(); !slices.Contains(log, "synced") {
			t.Errorf("told %q within %v of the API server's return, want synced", log, 2*retryMost+time.Second)
		}
		cancel()
		<-done
	})
}
