package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadAudit(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
	log := strings.Join([]string{
		`{"stage":"ResponseComplete","verb":"get","user":{"username":"early"},"requestReceivedTimestamp":"2026-01-01T00:00:00.999999Z"}`,
		`{"stage":"ResponseComplete","requestURI":"/api/v1/namespaces/ns/pods/p/status?x=y","verb":"patch","user":{"username":"u","extra":{"authentication.kubernetes.io/node-name":["node-1"]}},"objectRef":{"resource":"pods","namespace":"ns","name":"p","subresource":"status"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:01Z"}`,
		`{"stage":"ResponseStarted","verb":"watch","user":{"username":"u"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:02Z"}`,
		`{"stage":"ResponseComplete","verb":"watch","user":{"username":"u"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:02Z"}`,
		`{"stage":"ResponseComplete","verb":"watch","user":{"username":"u"},"objectRef":{"resource":"secrets"},"responseStatus":{"code":403},"requestReceivedTimestamp":"2026-01-01T00:00:03Z"}`,
		`{"stage":"ResponseComplete","requestURI":"/readyz?verbose","verb":"get","user":{"username":"system:anonymous"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:03Z"}`,
		`{"stage":"ResponseComplete","verb":"get","user":{"username":"late"},"requestReceivedTimestamp":"2026-01-01T00:00:04Z"}`,
		`{"stage":"ResponseComp`,
	}, "\n")
	got, err := readAudit(strings.NewReader(log), at(1), at(4))
	if err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{At: at(1), User: "u", Node: "node-1", Verb: "patch", Resource: "pods/status", Namespace: "ns", Name: "p", Code: 200},
		{At: at(2), User: "u", Verb: "watch", Resource: "pods", Code: 200},
		{At: at(3), User: "u", Verb: "watch", Resource: "secrets", Code: 403},
		{At: at(3), User: "system:anonymous", Verb: "get", Resource: "/readyz", Code: 200},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	counts := Count(append(got, got[1]))
	if n := counts[Call{User: "u", Verb: "watch", Resource: "pods"}]; n != 2 || len(counts) != 4 {
		t.Errorf("counts: got %v, want 4 kinds and 2 watches of pods", counts)
	}
	if _, err := readAudit(strings.NewReader("not json\n"), at(0), at(9)); err == nil {
		t.Error("a broken line was read without an error")
	}
}
