package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// nft runs commands of nftables in the calling thread's namespace, all of them or none.
func nft(ctx context.Context, commands string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running nft: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// replaceTable is what makes the table anew, whether or not it stands already.
func replaceTable(table, body string) string {
	return fmt.Sprintf("table %s {}\ndelete table %s\ntable %s {\n%s\n}\n", table, table, table, body)
}

// deleteTable deletes the table, which may be gone.
func deleteTable(table string) string {
	return fmt.Sprintf("table %s {}\ndelete table %s\n", table, table)
}

// quoted lists names as nftables reads them.
func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(out, ", ")
}
