package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// BackendPort is where every pod address answers HTTP.
const BackendPort = 80

// ClientHeader tells the requester's address as the backend saw it.
const ClientHeader = "Lab-Client"

// BulkPath is where backends send a Payload of BulkBytes bytes (GET, with the number as the query's "bytes") or take whatever comes
// (PUT) and answer with its PayloadSum as JSON.
const (
	BulkPath  = "/bulk"
	BulkBytes = "bytes"
)

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
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			w.Header().Set(ClientHeader, host)
		}
		_, _ = io.WriteString(w, node+"\n")
	})
	mux.HandleFunc("GET "+BulkPath, sendBulk)
	mux.HandleFunc("PUT "+BulkPath, takeBulk)
	b := &backend{server: &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: mux}}
	b.wg.Go(func() {
		if err := b.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			// Only an accept error of a dying namespace gets here.
			_ = l.Close()
		}
	})
	return b, nil
}

func sendBulk(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(r.URL.Query().Get(BulkBytes), 10, 64)
	if err != nil || size < 0 {
		http.Error(w, "how many bytes?", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream") // nobody is to guess it
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	_, _ = Payload(size).WriteTo(w) // a client that has gone has noticed itself
}

func takeBulk(w http.ResponseWriter, r *http.Request) {
	var sum PayloadSum
	if _, err := io.CopyBuffer(&sum, r.Body, make([]byte, payloadPiece)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(sum) // likewise
}

// stop closes the listener and all connections without a word to their peers
// that would need the network.
func (b *backend) stop() error {
	err := b.server.Close()
	b.wg.Wait()
	return err
}
