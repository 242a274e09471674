package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Request is one request to the API server, from its audit log.
type Request struct {
	// At is when the API server received it.
	At time.Time
	// User is the account's name, Node the node that a bound token names.
	User, Node string
	// Verb is Kubernetes' (get, list, watch, patch…), Resource has the subresource
	// after a slash. A request for something else than a resource has its path.
	Verb, Resource  string
	Namespace, Name string
	Code            int
}

// Account is a service account's user name.
func Account(name string) string { return "system:serviceaccount:" + Namespace + ":" + name }

// auditEvent is what is read of an audit.k8s.io/v1 Event.
type auditEvent struct {
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	Verb       string `json:"verb"`
	User       struct {
		Username string              `json:"username"`
		Extra    map[string][]string `json:"extra"`
	} `json:"user"`
	ObjectRef *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
}

// nodeClaim is the extra of a user whose token is bound to a node (KEP-4193).
const nodeClaim = "authentication.kubernetes.io/node-name"

// Requests reads the requests that the API server received in [from, to) from
// its audit log. A long-running one is counted when it begins, any other when it
// is answered, which is when it gets into the log.
func (c *Cluster) Requests(from, to time.Time) ([]Request, error) {
	f, err := os.Open(c.cp.audit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer f.Close()
	return readAudit(f, from, to)
}

func readAudit(r io.Reader, from, to time.Time) ([]Request, error) {
	var out []Request
	lines := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			// What has no end yet is still being written.
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if e.RequestReceivedTimestamp.Before(from) || !e.RequestReceivedTimestamp.Before(to) || !counts(e) {
			continue
		}
		out = append(out, request(e))
	}
}

// counts picks one event of each request.
func counts(e auditEvent) bool {
	started := e.Stage == "ResponseStarted"
	// Only long-running requests have a start of their response.
	longRunning := e.Verb == "watch" || (e.ObjectRef != nil && (e.ObjectRef.Subresource == "log" || e.ObjectRef.Subresource == "exec" || e.ObjectRef.Subresource == "portforward"))
	if e.Stage == "Panic" {
		return true
	}
	// A refused watch never starts; its end is all there is of it.
	if longRunning && e.ResponseStatus.Code >= 400 {
		return !started
	}
	return started == longRunning
}

func request(e auditEvent) Request {
	out := Request{At: e.RequestReceivedTimestamp, User: e.User.Username, Verb: e.Verb, Code: e.ResponseStatus.Code}
	if nodes := e.User.Extra[nodeClaim]; len(nodes) > 0 {
		out.Node = nodes[0]
	}
	if e.ObjectRef == nil {
		out.Resource, _, _ = strings.Cut(e.RequestURI, "?")
		return out
	}
	out.Resource, out.Namespace, out.Name = e.ObjectRef.Resource, e.ObjectRef.Namespace, e.ObjectRef.Name
	if e.ObjectRef.Subresource != "" {
		out.Resource += "/" + e.ObjectRef.Subresource
	}
	return out
}

// Call groups requests that do the same.
type Call struct {
	User, Node, Verb, Resource string
}

// Count counts requests by what they do.
func Count(requests []Request) map[Call]int {
	out := make(map[Call]int)
	for _, r := range requests {
		out[Call{User: r.User, Node: r.Node, Verb: r.Verb, Resource: r.Resource}]++
	}
	return out
}
