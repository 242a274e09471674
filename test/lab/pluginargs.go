package lab

import (
	"fmt"
	"maps"
)

// setPluginArgs puts arguments of plugins into the profiles of a scheduler configuration. Each plugin must have some there already.
func setPluginArgs(config map[string]any, args map[string]map[string]any) error {
	for name, more := range args {
		found := false
		profiles, _ := config["profiles"].([]any)
		for _, p := range profiles {
			profile, _ := p.(map[string]any)
			plugins, _ := profile["pluginConfig"].([]any)
			for _, c := range plugins {
				plugin, _ := c.(map[string]any)
				if plugin["name"] != name {
					continue
				}
				found = true
				merged, ok := plugin["args"].(map[string]any)
				if !ok {
					merged = map[string]any{}
				}
				maps.Copy(merged, more)
				plugin["args"] = merged
			}
		}
		if !found {
			return fmt.Errorf("arguments of plugin %s: no profile has any", name)
		}
	}
	return nil
}
