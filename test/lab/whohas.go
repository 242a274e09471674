package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

// Answer is a machine's answer to WhoHas.
type Answer struct {
	MAC net.HardwareAddr
	// After is the time from the question to this machine's first answer.
	After time.Duration
}

// WhoHas asks the segment once for the MAC of the target (ARP, or a neighbour
// solicitation for IPv6) and returns every machine that answers within the
// window, in order. No answer is no error.
func (h *Host) WhoHas(ctx context.Context, target netip.Addr, window time.Duration) ([]Answer, error) {
	etherType := ethernet.EtherTypeARP
	if target.Is6() {
		etherType = ethernet.EtherTypeIPv6
	}
	w, err := h.tap(etherType)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", target, err)
	}
	defer w.Close()
	begin := time.Now()
	if err := w.ask(target, h.V4, h.V6); err != nil {
		return nil, fmt.Errorf("asking for %s: %w", target, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = w.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := w.SetReadDeadline(begin.Add(window)); err != nil {
		return nil, fmt.Errorf("asking for %s: %w", target, err)
	}
	var answers []Answer
	buf := make([]byte, frameBufSize)
	for {
		about, mac, err := w.answer(buf)
		switch {
		case errors.Is(err, errNoFrame):
		case err == nil && about != target:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return answers, ctx.Err()
		case err != nil:
			return answers, fmt.Errorf("asking for %s: %w", target, err)
		case !has(answers, mac):
			answers = append(answers, Answer{MAC: mac, After: time.Since(begin)})
		}
	}
}

func has(answers []Answer, mac net.HardwareAddr) bool {
	for _, a := range answers {
		if bytes.Equal(a.MAC, mac) {
			return true
		}
	}
	return false
}

// ask broadcasts the question for target.
func (w *wire) ask(target, v4, v6 netip.Addr) error {
	if target.Is4() {
		return w.sendARP(arp.OperationRequest, ethernet.Broadcast, v4, unknownMAC, target)
	}
	group, err := ndp.SolicitedNodeMulticast(target)
	if err != nil {
		return err
	}
	return w.sendND(multicastMAC(group), v6, group, solicitation(target, w.mac))
}

// answer reads a frame and returns which address it gives which MAC for. Only
// answers to this host's own questions count, announcements don't.
func (w *wire) answer(buf []byte) (netip.Addr, net.HardwareAddr, error) {
	f, err := w.receive(buf)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	if f.EtherType == ethernet.EtherTypeARP {
		p, err := parseARP(f)
		if err != nil || p.Operation != arp.OperationReply || !bytes.Equal(p.TargetHardwareAddr, w.mac) {
			return netip.Addr{}, nil, errNoFrame
		}
		return p.SenderIP, bytes.Clone(p.SenderHardwareAddr), nil
	}
	_, m, err := parseND(f)
	if err != nil {
		return netip.Addr{}, nil, errNoFrame
	}
	na, ok := m.(*ndp.NeighborAdvertisement)
	if !ok || !na.Solicited {
		return netip.Addr{}, nil, errNoFrame
	}
	for _, o := range na.Options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Target {
			return na.TargetAddress, bytes.Clone(lla.Addr), nil
		}
	}
	return na.TargetAddress, bytes.Clone(f.Source), nil
}
