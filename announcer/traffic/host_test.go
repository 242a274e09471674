package traffic

import (
	"testing"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/nic"
)

func TestWhatNICsCarryIsRead(t *testing.T) {
	pair := nstest.NewPair(t, "nic0")
	nics := []nic.NIC{{Name: "nic0", Index: pair.Index(), SpeedMbps: 10_000}, {Name: "gone", Index: 9999}}
	links, err := ReadLinks(nics)
	if err != nil || len(links) != 1 || links[0].Name != "nic0" || links[0].SpeedMbps != 10_000 {
		t.Fatalf("read %+v, %v; want nic0", links, err)
	}
	pair.AddAddr(t, "2001:db8::1/64")
	pair.AddPeerAddr(t, "2001:db8::2/64")
	nstest.Eventually(t, "frames both ways", func() bool { // of IPv6's own accord
		now, err := ReadLinks(nics)
		return err == nil && now[0].Received > links[0].Received && now[0].Sent > links[0].Sent
	})
}
