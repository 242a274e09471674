package wishes

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Group is the value of the label evenkeel.io/spread-group for a group of a namespace. Placeholders of all namespaces' Services
// live side by side, so the value says the namespace: one tenant's group never keeps away from another's of the same name.
//
// A namespace has no dots, hence what stands before the first one tells namespaces apart. What is too long for a label is
// cut and ends in a hash (64 bits of SHA-256) of all of it.
func Group(namespace, name string) string { return shortened(namespace + "." + name) }

func shortened(value string) string {
	if len(value) <= validation.LabelValueMaxLength {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	hash := hex.EncodeToString(sum[:8])
	return value[:validation.LabelValueMaxLength-1-len(hash)] + "_" + hash
}

func sorted(texts []string) []string {
	slices.Sort(texts)
	return texts
}
