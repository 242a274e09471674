// Command rulegroups reads a PrometheusRule object and writes the rule groups in it, which is what promtool reads.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"sigs.k8s.io/yaml"
)

// prometheusRule is the part of monitoring.coreos.com/v1 that matters here.
type prometheusRule struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   any    `json:"metadata"`
	Spec       struct {
		Groups []any `json:"groups"`
	} `json:"spec"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "rulegroups: %v\n", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("reading the PrometheusRule: %w", err)
	}
	var rule prometheusRule
	if err := yaml.UnmarshalStrict(text, &rule); err != nil {
		return fmt.Errorf("reading the PrometheusRule: %w", err)
	}
	if rule.APIVersion != "monitoring.coreos.com/v1" || rule.Kind != "PrometheusRule" || len(rule.Spec.Groups) == 0 {
		return errors.New("reading the PrometheusRule: it is no monitoring.coreos.com/v1 PrometheusRule with groups")
	}
	groups, err := yaml.Marshal(rule.Spec)
	if err != nil {
		return fmt.Errorf("writing the groups: %w", err)
	}
	_, err = out.Write(groups)
	return err
}
