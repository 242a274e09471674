package placeholder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePorts(t *testing.T) {
	tests := map[string]struct {
		text string
		want []Port
		fail string
	}{
		"none":                      {"", nil, ""},
		"one":                       {"tcp/80", []Port{{"tcp", 80}}, ""},
		"sorted by protocol, port":  {"udp/53,tcp/443,sctp/9,tcp/53", []Port{{"sctp", 9}, {"tcp", 53}, {"tcp", 443}, {"udp", 53}}, ""},
		"duplicates count once":     {"tcp/80,TCP/80", []Port{{"tcp", 80}}, ""},
		"as people space it":        {" tcp/80 , udp/53 ,", []Port{{"tcp", 80}, {"udp", 53}}, ""},
		"the last port":             {"tcp/65535", []Port{{"tcp", 65535}}, ""},
		"port 0":                    {"tcp/0", nil, "protocol/port"},
		"a port above the last":     {"tcp/65536", nil, "protocol/port"},
		"a negative port":           {"tcp/-1", nil, "protocol/port"},
		"a name":                    {"tcp/http", nil, "protocol/port"},
		"a range":                   {"tcp/80-90", nil, "protocol/port"},
		"the other way round":       {"80/tcp", nil, "protocol/port"},
		"a protocol without ports":  {"icmp/8", nil, "tcp, udp or sctp"},
		"no protocol":               {"/80", nil, "tcp, udp or sctp"},
		"more than can be read":     {strings.Repeat("tcp/80,", maxPorts+1), nil, "at most 1024"},
		"as many as can be read":    {strings.Repeat("tcp/80,", maxPorts), []Port{{"tcp", 80}}, ""},
		"one bad among good ones":   {"tcp/80,nonsense,udp/53", nil, `"nonsense"`},
		"two slashes in one of all": {"tcp/80/90", nil, "protocol/port"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParsePorts(test.text)
			if test.fail != "" {
				if err == nil || !strings.Contains(err.Error(), test.fail) {
					t.Fatalf("got %v and error %v, want an error with %q", got, err, test.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestFormatPortsLeavesItsArgument(t *testing.T) {
	ports := []Port{{"udp", 53}, {"tcp", 80}}
	if got, want := FormatPorts(ports), "tcp/80,udp/53"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if diff := cmp.Diff([]Port{{"udp", 53}, {"tcp", 80}}, ports); diff != "" {
		t.Errorf("the argument changed (-want +got)\n%s", diff)
	}
}
