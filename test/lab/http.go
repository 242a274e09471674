package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Response is an answer to Get.
type Response struct {
	Status int
	// Body is trimmed: a backend's is the name of its node.
	Body string
	// Client is the requester's address as a backend saw it.
	Client string
}

// Get makes an HTTP request from the namespace, on a connection of its own, and
// gives up after 3 s.
func (n *Netns) Get(ctx context.Context, url string) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Response{}, fmt.Errorf("asking %s: %w", url, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return Response{}, fmt.Errorf("from %s: %w", n.name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return Response{}, fmt.Errorf("from %s: reading %s: %w", n.name, url, err)
	}
	return Response{
		Status: resp.StatusCode,
		Body:   strings.TrimSpace(string(body)),
		Client: resp.Header.Get(ClientHeader),
	}, nil
}
