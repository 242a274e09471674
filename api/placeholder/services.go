package placeholder

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// ParseServices reads a comma-separated list of namespace/name; an empty text means none.
func ParseServices(text string) ([]types.NamespacedName, error) {
	var services []types.NamespacedName
	for _, field := range splitList(text) {
		namespace, name, ok := strings.Cut(field, "/")
		if !ok || namespace == "" || name == "" {
			return nil, fmt.Errorf("%q is not namespace/name", field)
		}
		services = append(services, types.NamespacedName{Namespace: namespace, Name: name})
	}
	return services, nil
}

// FormatServices is the reverse of ParseServices.
func FormatServices(services []types.NamespacedName) string {
	texts := make([]string, len(services))
	for i, service := range services {
		texts[i] = service.String()
	}
	return strings.Join(texts, ",")
}
