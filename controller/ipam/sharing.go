package ipam

import (
	"fmt"
	"slices"

	"evenkeel.io/evenkeel/api/placeholder"
)

// Sharing is what decides whether a Service may share its address with others. The zero value shares with nobody.
//
// The rules are MetalLB's (internal/allocator, sharingOK): the same key, no port in common, and backends that one node can
// serve for both.
type Sharing struct {
	// Key is the value of the Service's annotation. Only Services of one key share. Empty: with nobody.
	Key string
	// Local: externalTrafficPolicy Local. The address is then where the Service's endpoints are.
	Local bool
	// Selector of the Service in canonical form, which counts where the policy is Local. Empty: its endpoints are written by hand.
	Selector string
	// Ports of the Service.
	Ports []placeholder.Port
}

// Equal says whether two Services share alike.
func (s Sharing) Equal(other Sharing) bool {
	return s.Key == other.Key && s.Local == other.Local && s.Selector == other.Selector && slices.Equal(s.Ports, other.Ports)
}

// Against returns why a Service can't share an address with another one, which a sentence is made of that ends with it: ""
// where it can. other names the other Service.
func (s Sharing) Against(with Sharing, other string) string {
	switch {
	case with.Key == "":
		return fmt.Sprintf("Service %s doesn't share it: that takes the same annotation %s on both", other, placeholder.AnnotationSharing)
	case s.Key != with.Key:
		return fmt.Sprintf("Service %s shares it under another key", other)
	case s.Local != with.Local:
		return fmt.Sprintf("Service %s has another externalTrafficPolicy: make it the same on both", other)
	case s.Local && (s.Selector != with.Selector || s.Selector == ""):
		return fmt.Sprintf("Service %s has externalTrafficPolicy Local, too, but not the same selector: no node is sure to have endpoints of both", other)
	}
	for _, port := range s.Ports {
		if slices.Contains(with.Ports, port) {
			return fmt.Sprintf("Service %s has its port %s", other, port)
		}
	}
	return ""
}

// RefuseShared refuses a shared address.
func RefuseShared(format string, args ...any) error { return refuse(NotShareable, format, args...) }
