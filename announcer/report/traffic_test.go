package report

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// trafficServer is an API server with at most one VIPNodeTraffic.
type trafficServer struct {
	stored *v1alpha1.VIPNodeTraffic
	seen   []string
	away   bool
}

func (s *trafficServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.seen = append(s.seen, req.Method)
	refuse := func(code int, reason metav1.StatusReason) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: reason, Code: int32(code),
		})
	}
	w.Header().Set("Content-Type", "application/json")
	var sent v1alpha1.VIPNodeTraffic
	if req.Method != http.MethodGet {
		_ = json.NewDecoder(req.Body).Decode(&sent)
	}
	switch {
	case s.away:
		refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError)
		return
	case req.Method == http.MethodPost:
		sent.ResourceVersion = "1"
		s.stored = &sent
	case s.stored == nil:
		refuse(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	case req.Method == http.MethodPut && sent.ResourceVersion != s.stored.ResourceVersion:
		refuse(http.StatusConflict, metav1.StatusReasonConflict)
		return
	case req.Method == http.MethodPut:
		version, _ := strconv.Atoi(s.stored.ResourceVersion)
		sent.ResourceVersion = strconv.Itoa(version + 1)
		s.stored = &sent
	}
	_ = json.NewEncoder(w).Encode(s.stored)
}

func TestFiguresArePublished(t *testing.T) {
	server := &trafficServer{}
	http := httptest.NewServer(server)
	t.Cleanup(http.Close)
	client, err := v1alpha1.NewRESTClient(&rest.Config{Host: http.URL})
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "uid-1"}}
	clk := clocktesting.NewFakeClock(time.Now())
	measured, known := v1alpha1.VIPNodeTrafficStatus{}, false
	w := NewTraffic(TrafficOptions{
		Name: "node-1", Client: client, Nodes: fake.NewClientset(node).CoreV1(), Clock: clk,
		Measured: func() (v1alpha1.VIPNodeTrafficStatus, bool) { return measured, known },
	})
	w.publication.Begin(clk.Now())
	steps := []struct {
		name   string
		pause  time.Duration
		change func()
		want   string // requests
		bytes  int64  // stored afterwards
	}{
		{"nothing was measured yet", time.Minute, func() {}, "", 0},
		{"the object is made", 0, func() { known, measured.BytesPerSecond = true, 1e6 }, "GET POST", 1e6},
		{"nothing changed", time.Minute, func() {}, "", 1e6},
		{"a change is written by one request", time.Minute, func() { measured.BytesPerSecond = 2e6 }, "PUT", 2e6},
		{"the next one is too soon", 10 * time.Second, func() { measured.BytesPerSecond = 3e6 }, "", 2e6},
		{"it comes in time", 20 * time.Second, func() {}, "PUT", 3e6},
		{"the API is away", time.Minute, func() { server.away, measured.BytesPerSecond = true, 4e6 }, "PUT", 3e6},
		{"it isn't asked again at once", 5 * time.Second, func() {}, "", 3e6},
		{"it still is", 25 * time.Second, func() {}, "GET", 3e6},
		{"it is back", 30 * time.Second, func() { server.away = false }, "GET PUT", 4e6},
		{"somebody else has written", time.Minute, func() { server.stored.ResourceVersion, measured.BytesPerSecond = "50", 5e6 }, "PUT", 4e6},
		{"then it is read first", 30 * time.Second, func() {}, "GET PUT", 5e6},
		{"somebody has deleted it", time.Minute, func() { server.stored, measured.BytesPerSecond = nil, 6e6 }, "PUT", 0},
		{"it is made anew", 30 * time.Second, func() {}, "GET POST", 6e6},
	}
	for _, step := range steps {
		clk.Step(step.pause)
		step.change()
		server.seen = nil
		w.look(t.Context())
		got, bytes := "", int64(0)
		for i, method := range server.seen {
			if i > 0 {
				got += " "
			}
			got += method
		}
		if server.stored != nil {
			bytes = server.stored.Status.BytesPerSecond
		}
		// The client repeats what an ailing server refuses.
		if got != step.want && !server.away || server.away && len(server.seen) > 0 != (step.want != "") || bytes != step.bytes {
			t.Errorf("%s: requests %q, want %q; stored %d bytes a second, want %d", step.name, got, step.want, bytes, step.bytes)
		}
	}
	if owners := server.stored.OwnerReferences; len(owners) != 1 || owners[0].Kind != "Node" || owners[0].UID != "uid-1" {
		t.Errorf("owned by %+v, want the Node", owners)
	}
}
