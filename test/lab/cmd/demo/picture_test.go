package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPicture(t *testing.T) {
	got := picture([]string{"node-1", "node-2"}, []vipLine{
		{Address: "192.0.2.11", Service: "default/b", Node: "node-1"},
		{Address: "192.0.2.10", Service: "default/a", Node: "node-1", Served: "node-2"},
		{Address: "192.0.2.12", Service: "default/c"},
	}, false)
	want := `  node-1   ■■            2  ● 192.0.2.10   ○ 192.0.2.11   
  node-2                 0  
  -                      1  not announced yet
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("picture (-want +got):\n%s", diff)
	}
}
