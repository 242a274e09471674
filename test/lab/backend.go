package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// BackendPort is where every pod address answers HTTP.
const BackendPort = 80

// ClientHeader tells the requester's address as the backend saw it.
const ClientHeader = "Lab-Client"

// backend answers HTTP at every address of a pods' namespace with the name of
// the node: any pod that kwok says is running is really there.
type backend struct {
	server *http.Server
	wg     sync.WaitGroup
}

func startBackend(ctx context.Context, ns *Netns, node string) (*backend, error) {
	l, err := ns.Listen(ctx, "tcp", fmt.Sprintf("[::]:%d", BackendPort))
	if err != nil {
		return nil, err
	}
	b := &backend{server: &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
				w.Header().Set(ClientHeader, host)
			}
			_, _ = io.WriteString(w, node+"\n")
		}),
	}}
	b.wg.Go(func() {
		if err := b.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			// Only an accept error of a dying namespace gets here.
			_ = l.Close()
		}
	})
	return b, nil
}

// stop closes the listener and all connections without a word to their peers
// that would need the network.
func (b *backend) stop() error {
	err := b.server.Close()
	b.wg.Wait()
	return err
}
