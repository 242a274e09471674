package report

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// vipNodeServer is an API server with one VIPNode, of which only the status can be written.
type vipNodeServer struct {
	mu     sync.Mutex
	stored v1alpha1.VIPNode
	reads  int
	writes int
	handed [][]v1alpha1.Neighbour
	fails  int // with this HTTP status, unless it is 0; unknown: there is no such resource
}

func (s *vipNodeServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if s.fails == unknown {
		http.NotFound(w, req)
		return
	}
	if s.fails != 0 {
		status := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(s.fails)}
		if s.fails == http.StatusNotFound {
			status.Reason = metav1.StatusReasonNotFound
		}
		w.WriteHeader(s.fails)
		_ = json.NewEncoder(w).Encode(status)
		return
	}
	switch req.Method {
	case http.MethodGet:
		s.reads++
	case http.MethodPut:
		s.writes++
		var sent v1alpha1.VIPNode
		if err := json.NewDecoder(req.Body).Decode(&sent); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.stored.Status = sent.Status
	}
	_ = json.NewEncoder(w).Encode(s.stored)
}

// unknown is what an API server without our CRDs answers.
const unknown = -1

func newVIPNode(t *testing.T, suspect *v1alpha1.Suspicion, onWire bool) (*VIPNode, *vipNodeServer) {
	s := &vipNodeServer{stored: v1alpha1.VIPNode{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNode"},
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Spec: v1alpha1.VIPNodeSpec{Suspect: suspect},
	}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := v1alpha1.NewRESTClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	v := NewVIPNode(VIPNodeOptions{
		Name: "node-1", Client: client, OnWire: func() bool { return onWire },
		Neighbours: func(neighbours []v1alpha1.Neighbour) { s.handed = append(s.handed, neighbours) },
	})
	return v, s
}

func TestSuspicionIsAcknowledgedOnlyOnTheWire(t *testing.T) {
	tests := []struct {
		name    string
		suspect *v1alpha1.Suspicion
		onWire  bool
		want    string
		stands  bool
		writes  int
	}{
		{"a node without a suspicion acknowledges nothing", nil, true, "", false, 0},
		{"a suspected node that hears others acknowledges it", &v1alpha1.Suspicion{ID: "one", Reason: "FellSilent"}, true, "one", true, 1},
		{"a deaf one doesn't, though the API answers it", &v1alpha1.Suspicion{ID: "one", Reason: "FellSilent"}, false, "", true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, server := newVIPNode(t, tt.suspect, tt.onWire)
			stands, err := v.write(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if stands != tt.stands {
				t.Errorf("suspicion stands = %t, want %t", stands, tt.stands)
			}
			if got := server.stored.Status.SuspectAcknowledged; got != tt.want || server.writes != tt.writes {
				t.Errorf("acknowledged %q with %d writes, want %q with %d", got, server.writes, tt.want, tt.writes)
			}
		})
	}
}

func TestARecheckReadsTheVIPNodeAgain(t *testing.T) {
	v, server := newVIPNode(t, nil, true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	reads := func() int { server.mu.Lock(); defer server.mu.Unlock(); return server.reads }
	for deadline := time.Now().Add(10 * time.Second); reads() < 3; { // the first read isn't asked for
		if time.Now().After(deadline) {
			t.Fatalf("the VIPNode was read %d times in 10 s", reads())
		}
		v.Recheck()
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestNeighboursAreHandedOnAndTheSilentOnesWritten(t *testing.T) {
	v, server := newVIPNode(t, nil, true)
	server.stored.Spec.Neighbours = []v1alpha1.Neighbour{{Node: "node-2", MAC: "02:00:00:00:00:02", Address: "192.0.2.102"}}
	steps := []struct {
		name   string
		silent []string
		writes int
	}{
		{"nobody is silent at first", nil, 0},
		{"one falls silent", []string{"node-2"}, 1},
		{"nothing changes", []string{"node-2"}, 1},
		{"it is back", nil, 2},
	}
	for i, step := range steps {
		v.Update(func(status *v1alpha1.VIPNodeStatus) { status.SilentNeighbours = step.silent })
		if _, err := v.write(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.silent, server.stored.Status.SilentNeighbours, cmpopts.EquateEmpty()); diff != "" || server.writes != step.writes {
			t.Errorf("%s: %d writes, want %d; status (-want +got):\n%s", step.name, server.writes, step.writes, diff)
		}
		if len(server.handed) != i+1 || !cmp.Equal(server.handed[i], server.stored.Spec.Neighbours) {
			t.Errorf("%s: handed on %v", step.name, server.handed)
		}
	}
}

func TestOnlyAnAPIServerThatSaysSoHasRemovedTheVIPNode(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fails int
		want  bool
	}{
		{"it is there", 0, false},
		{"it is not", http.StatusNotFound, true},
		{"nor is its CRD", unknown, false},
		{"the API server has troubles of its own", http.StatusInternalServerError, false},
		{"this announcer may not read it", http.StatusForbidden, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, s := newVIPNode(t, nil, true)
			s.mu.Lock()
			s.fails = tt.fails
			s.mu.Unlock()
			if got := v.Removed(t.Context()); got != tt.want {
				t.Errorf("Removed() = %v, want %v", got, tt.want)
			}
		})
	}
	v, _ := newVIPNode(t, nil, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v.Removed(ctx) {
		t.Error("no answer at all counts as one")
	}
}
