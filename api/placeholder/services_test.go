package placeholder

import "testing"

func TestServicesAreReadAsTheyAreWritten(t *testing.T) {
	for _, text := range []string{"", "default/web", "default/web,other/web"} {
		services, err := ParseServices(text)
		if err != nil || FormatServices(services) != text {
			t.Errorf("%q was read as %v, %v", text, services, err)
		}
	}
	for _, text := range []string{"web", "default/", "/web", "default/web,web"} {
		if services, err := ParseServices(text); err == nil {
			t.Errorf("%q was read as %v", text, services)
		}
	}
}
