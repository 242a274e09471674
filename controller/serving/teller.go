package serving

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxNote is the longest note that the events API takes (events.k8s.io/v1 validation).
const maxNote = 1024

// Teller makes events, and makes none twice: a retry that ends as the one before it says nothing. It is safe for concurrent use.
type Teller struct {
	recorder events.EventRecorder
	mu       sync.Mutex
	told     map[topic]string
}

type topic struct {
	uid  types.UID
	name string
}

// NewTeller returns a Teller that writes through recorder.
func NewTeller(recorder events.EventRecorder) *Teller {
	return &Teller{recorder: recorder, told: map[topic]string{}}
}

// Event is one message to the owner of an object.
type Event struct {
	// Warning makes it one; else it is Normal.
	Warning bool
	// Reason and Action are one word each: why, and what was done or tried.
	Reason, Action string
	// Note is for people: what happened, and what to do.
	Note string
	// Related is a second object, for example the placeholder. It may be nil.
	Related runtime.Object
}

// Tell makes an event.
func (t *Teller) Tell(about client.Object, e Event) {
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	note := e.Note
	if len(note) > maxNote {
		note = note[:maxNote-len("...")] + "..."
	}
	t.recorder.Eventf(about, e.Related, kind, e.Reason, e.Action, "%s", note)
}

// TellOnce makes an event unless the last one on this topic about this object said the same.
func (t *Teller) TellOnce(about client.Object, on string, e Event) {
	key, text := topic{about.GetUID(), on}, e.Reason+"\x00"+e.Note
	t.mu.Lock()
	same := t.told[key] == text
	t.told[key] = text
	t.mu.Unlock()
	if !same {
		t.Tell(about, e)
	}
}

// Settle forgets what was told on a topic: should it come up again, it is told again.
func (t *Teller) Settle(uid types.UID, on string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.told, topic{uid, on})
}

// Forget forgets all that was told about an object.
func (t *Teller) Forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.told {
		if key.uid == uid {
			delete(t.told, key)
		}
	}
}
