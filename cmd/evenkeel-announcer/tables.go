package main

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/guard"
	"evenkeel.io/evenkeel/announcer/protect"
	"evenkeel.io/evenkeel/announcer/quiet"
)

// tables are what a guard keeps in force: the VIPs' protection, and that their node's other NICs don't answer for them. Either may be
// nil. What fails of the latter is logged only: it is no hole in the former.
type tables struct {
	protect guard.Table
	arp     *quiet.Table
}

// Set hands the complete set to both.
func (t tables) Set(ctx context.Context, entries []protect.Entry) error {
	if t.arp != nil {
		t.log(ctx, t.arp.Set(ctx, entries))
	}
	if t.protect == nil {
		return nil
	}
	return t.protect.Set(ctx, entries)
}

// Renew starts the timeouts of both anew.
func (t tables) Renew(ctx context.Context) error {
	if t.arp != nil {
		t.log(ctx, t.arp.Renew(ctx))
	}
	if t.protect == nil {
		return nil
	}
	return t.protect.Renew(ctx)
}

func (t tables) log(ctx context.Context, err error) {
	if err != nil {
		klog.FromContext(ctx).Error(err, "Other interfaces of this node may answer ARP for its VIPs")
	}
}

// openARP opens the table that keeps a VIP from being answered for on other NICs than its own. Where the kernel can't do it, VIPs are
// announced all the same: nodes with one NIC need none.
func (k *kernel) openARP(ctx context.Context, timeout time.Duration) {
	table, err := quiet.New(quiet.Options{Timeout: timeout})
	if err == nil {
		err = table.Open(ctx)
	}
	if err != nil {
		klog.FromContext(ctx).Info("On a node with several interfaces all of them answer ARP for its VIPs", "err", err)
		return
	}
	k.arp = table
}

// unprotected is a guard of VIPs that are not protected.
func (k *kernel) unprotected(timeout time.Duration) *guard.Guard {
	if k.arp == nil {
		return guard.New(nil, 0, nil)
	}
	return guard.New(tables{arp: k.arp}, timeout/4, func(error) {})
}

var _ guard.Table = tables{}
