package dataplane

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/nftables"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/nft"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestKubeProxysModeIsSeenByItsTraces(t *testing.T) {
	nstest.Require(t)
	make := func(table string, family nftables.TableFamily, chain string) func(t *testing.T, root string) {
		return func(t *testing.T, _ string) {
			c := &nftables.Conn{}
			made := c.AddTable(&nftables.Table{Name: table, Family: family})
			if chain != "" {
				c.AddChain(&nftables.Chain{Name: chain, Table: made})
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				c.DelTable(made)
				if err := c.Flush(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	file := func(name, content string) func(t *testing.T, root string) {
		return func(t *testing.T, root string) {
			name := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name       string
		make       func(t *testing.T, root string)
		want       Proxy
		translates bool
	}{
		{"nothing is there", func(*testing.T, string) {}, NoProxy, false},
		{"its own table", make("kube-proxy", nftables.TableFamilyIPv4, ""), ProxyNFTables, true},
		{"its own table for IPv6 only", make("kube-proxy", nftables.TableFamilyIPv6, ""), ProxyNFTables, true},
		{"its chain in iptables made of nf_tables", make("nat", nftables.TableFamilyIPv4, "KUBE-SERVICES"), ProxyIPTables, true},
		{"somebody else's nat table", make("nat", nftables.TableFamilyIPv4, "DOCKER"), NoProxy, false},
		{"the older iptables' nat table", file("proc/net/ip_tables_names", "filter\nnat\n"), ProxyIPTables, true},
		{"the older iptables without nat", file("proc/net/ip_tables_names", "filter\n"), NoProxy, false},
		{"IPVS", file("sys/class/net/kube-ipvs0/ifindex", "9\n"), ProxyIPVS, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			tt.make(t, root)
			link := nft.NewLink(0)
			defer link.Close()
			got, err := DetectProxy(root, link)
			if err != nil || got != tt.want || got.Translates() != tt.translates {
				t.Errorf("found %s, %v (translates: %v), want %s (%v)", got, err, got.Translates(), tt.want, tt.translates)
			}
			if reason, message := got.Condition(); reason == "" || message == "" {
				t.Error("nothing is said of it")
			}
		})
	}
}
