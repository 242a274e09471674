package lab

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestABackendTakesAndSendsPayloads(t *testing.T) {
	const payload = Payload(payloadPiece + 123)
	var content strings.Builder
	if _, err := payload.WriteTo(&content); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	takeBulk(answer, httptest.NewRequest(http.MethodPut, BulkPath, strings.NewReader(content.String())))
	var sum PayloadSum
	if err := json.NewDecoder(answer.Body).Decode(&sum); err != nil || !sum.Right(payload) {
		t.Errorf("it has received %+v, %v", sum, err)
	}
	tests := []struct {
		name  string
		query string
		code  int
		size  Payload
	}{
		{"as many bytes as were asked for", "?bytes=262267", http.StatusOK, payload},
		{"none, if none were", "?bytes=0", http.StatusOK, 0},
		{"fewer than none can't be", "?bytes=-1", http.StatusBadRequest, 0},
		{"without a number it can't tell how many", "", http.StatusBadRequest, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := httptest.NewRecorder()
			sendBulk(answer, httptest.NewRequest(http.MethodGet, BulkPath+tt.query, nil))
			if answer.Code != tt.code {
				t.Fatalf("status %d, want %d", answer.Code, tt.code)
			}
			var sum PayloadSum
			if _, err := io.Copy(&sum, answer.Body); err != nil {
				t.Fatal(err)
			}
			if tt.code == http.StatusOK && !sum.Right(tt.size) {
				t.Errorf("it sends %+v, want the payload of %d bytes", sum, tt.size)
			}
		})
	}
}
