package main

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
)

// order writes or, where value is nil, removes a label ("labels") or an annotation ("annotations") of an object.
func order(ctx context.Context, c client.Client, object client.Object, kind, key string, value *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{kind: map[string]any{key: value}}})
	if err != nil {
		return err
	}
	return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch))
}

// printOrders lists the orders that the controller has yet to carry out.
func (o *options) printOrders(s snapshot) error {
	for i := range s.vips {
		to, ordered := s.vips[i].Annotations[placeholder.AnnotationMoveTo]
		if move := s.vips[i].Spec.Move; move != nil {
			to, ordered = move.To, true
		}
		if ordered {
			if _, err := fmt.Fprintf(o.streams.Out, "\nVIP %s is to move from %s to %s.", s.vips[i].Name, s.vips[i].Status.Node, to); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintln(o.streams.Out)
	return err
}
