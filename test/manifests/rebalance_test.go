package manifests

import (
	"os"
	"regexp"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestPoolRebalance asks the API server which rebalance policies it takes. What it can't know (zones, times that never come) is the
// controller's to report.
func TestPoolRebalance(t *testing.T) {
	const windows = `{mode: Window, windows: [{schedule: "0 3 * * *", duration: 30m, timeZone: Asia/Shanghai}]}`
	tests := map[string]struct {
		rebalance string
		want      string // part of the refusal; "" when the policy is taken
	}{
		"nothing":                             {`{}`, ""},
		"windows":                             {windows, ""},
		"all fields":                          {`{mode: Auto, imbalanceThreshold: 3, movesAtOnce: 10, movesPerHour: 600, cooldown: 1h30m, nodeSettle: 0s, maxTrafficShare: 100}`, ""},
		"off in quotes":                       {`{mode: "Off"}`, ""},
		"off without quotes":                  {`{mode: Off}`, "spec.rebalance.mode"},
		"a mode that doesn't exist":           {`{mode: Sometimes}`, "spec.rebalance.mode"},
		"windows that aren't there":           {`{mode: Window}`, "spec.rebalance.windows: Invalid value"},
		"no windows":                          {`{mode: Window, windows: []}`, "mode Window needs at least one window"},
		"windows that aren't used":            {`{mode: Auto, windows: [{schedule: "0 3 * * *", duration: 30m}]}`, ""},
		"no move at once":                     {`{movesAtOnce: 0}`, "spec.rebalance.movesAtOnce"},
		"too many at once":                    {`{movesAtOnce: 11}`, "spec.rebalance.movesAtOnce"},
		"too many in an hour":                 {`{movesPerHour: 601}`, "spec.rebalance.movesPerHour"},
		"a threshold of nothing":              {`{imbalanceThreshold: 0}`, "spec.rebalance.imbalanceThreshold"},
		"a share above all":                   {`{maxTrafficShare: 101}`, "spec.rebalance.maxTrafficShare"},
		"a negative cooldown":                 {`{cooldown: -1m}`, "spec.rebalance.cooldown"},
		"a cooldown beyond a day":             {`{cooldown: 24h1s}`, "must be at most 24h"},
		"a cooldown in days":                  {`{cooldown: 1d}`, "spec.rebalance.cooldown"},
		"a cooldown without a unit":           {`{cooldown: "10"}`, "spec.rebalance.cooldown"},
		"a cooldown beyond what can be read":  {`{cooldown: 999999h999999h999999h}`, "spec.rebalance.cooldown"},
		"a settling beyond an hour":           {`{nodeSettle: 61m}`, "must be at most 1h"},
		"a window of nothing":                 {`{windows: [{schedule: "0 3 * * *", duration: 0s}]}`, "must be between 1m and 168h"},
		"a window beyond a week":              {`{windows: [{schedule: "0 3 * * *", duration: 169h}]}`, "must be between 1m and 168h"},
		"a window without a duration":         {`{windows: [{schedule: "0 3 * * *"}]}`, "spec.rebalance.windows[0].duration"},
		"a window without a schedule":         {`{windows: [{duration: 1h}]}`, "spec.rebalance.windows[0].schedule"},
		"four fields":                         {`{windows: [{schedule: "0 3 * *", duration: 1h}]}`, "spec.rebalance.windows[0].schedule"},
		"a zone in the schedule":              {`{windows: [{schedule: "TZ=UTC 0 3 * * *", duration: 1h}]}`, "spec.rebalance.windows[0].schedule"},
		"a path as a zone":                    {`{windows: [{schedule: "0 3 * * *", duration: 1h, timeZone: ../UTC}]}`, "spec.rebalance.windows[0].timeZone"},
		"the controller's zone":               {`{windows: [{schedule: "0 3 * * *", duration: 1h, timeZone: Local}]}`, "must be an IANA name"},
		"a zone that doesn't exist":           {`{windows: [{schedule: "0 3 * * *", duration: 1h, timeZone: Mars/Olympus}]}`, ""},
		"a time that never comes":             {`{windows: [{schedule: "0 0 31 2 *", duration: 1h}]}`, ""},
		"a field that doesn't exist, dropped": {`{speed: fast}`, ""},
	}
	admin := adminClient(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, admin.Create(t.Context(), rawPool(t, `
apiVersion: evenkeel.io/v1alpha1
kind: VIPPool
metadata: {name: some}
spec:
  addresses: [192.0.2.0/28]
  rebalance: `+test.rebalance), client.DryRunAll), test.want)
		})
	}
}

// TestDocumentedPolicies applies the examples of docs/rebalancing.md.
func TestDocumentedPolicies(t *testing.T) {
	text, err := os.ReadFile("../../docs/rebalancing.md")
	if err != nil {
		t.Fatal(err)
	}
	admin := adminClient(t)
	for _, example := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		checkRefusal(t, admin.Create(t.Context(), rawPool(t, example[1]), client.DryRunAll), "")
	}
}

// rawPool reads a pool as kubectl does: what isn't of the CRD's types reaches the API server as it is.
func rawPool(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	p := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &p.Object); err != nil {
		t.Fatal(err)
	}
	return p
}
