package place

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// containerName is that of a placeholder's one container.
const containerName = "placeholder"

// maxPatch bounds a patch in bytes: it is merged into each placeholder.
const maxPatch = 16 << 10

// What a pool's podTemplatePatch may say of a pod's spec and of its container. Whatever else makes a pod a placeholder, and
// keeps it harmless, isn't for it to change.
var (
	patchable          = []string{"affinity", "nodeSelector", "tolerations", "topologySpreadConstraints", "priorityClassName", "imagePullSecrets", "containers"}
	patchableContainer = []string{"name", "resources"}
)

// CheckPatch returns why a pool's podTemplatePatch can't be used, or nil. What the API server thinks of the result is another
// question: see Keeper.Usable.
func CheckPatch(patch *runtime.RawExtension) error {
	if absent(patch) {
		return nil
	}
	if len(patch.Raw) > maxPatch {
		return fmt.Errorf("it is longer than %d bytes", maxPatch)
	}
	var document map[string]any
	if err := json.Unmarshal(patch.Raw, &document); err != nil {
		return fmt.Errorf("it is no object: %w", err)
	}
	if key := directive(document); key != "" {
		return fmt.Errorf("%s: directives of patches are not supported", key)
	}
	if err := errors.Join(only(document, "", "metadata", "spec"), checkMetadata(document), checkSpec(document)); err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(patch.Raw, &corev1.Pod{}); err != nil { // JSON is YAML
		return fmt.Errorf("it is no part of a pod: %w", err)
	}
	return nil
}

func absent(patch *runtime.RawExtension) bool {
	return patch == nil || len(patch.Raw) == 0 || string(patch.Raw) == "null"
}

// directive finds a key that strategic merge patches take for an instruction.
func directive(value any) string {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if strings.HasPrefix(key, "$") {
				return key
			}
			if found := directive(v[key]); found != "" {
				return found
			}
		}
	case []any:
		for _, element := range v {
			if found := directive(element); found != "" {
				return found
			}
		}
	}
	return ""
}

// only refuses keys of an object other than these.
func only(object map[string]any, path string, keys ...string) error {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("%s%s is not for a patch to change: only %s", path, key, strings.Join(keys, ", "))
		}
	}
	return nil
}

// part returns an object's part that is an object, nil where there is none.
func part(object map[string]any, path, key string) (map[string]any, error) {
	value, ok := object[key]
	if !ok {
		return nil, nil
	}
	found, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s%s must be an object", path, key)
	}
	return found, nil
}

func checkMetadata(document map[string]any) error {
	metadata, err := part(document, "", "metadata")
	if err != nil {
		return err
	}
	if err := only(metadata, "metadata.", "labels", "annotations"); err != nil {
		return err
	}
	for _, kind := range []string{"labels", "annotations"} {
		texts, err := part(metadata, "metadata.", kind)
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(texts)) {
			prefix, _, _ := strings.Cut(key, "/")
			if prefix == "evenkeel.io" || strings.HasSuffix(prefix, ".evenkeel.io") || prefix == "app.kubernetes.io" {
				return fmt.Errorf("metadata.%s: %s is not for a patch to change", kind, key)
			}
		}
	}
	return nil
}

func checkSpec(document map[string]any) error {
	spec, err := part(document, "", "spec")
	if err != nil {
		return err
	}
	if err := only(spec, "spec.", patchable...); err != nil {
		return err
	}
	value, ok := spec["containers"]
	if !ok {
		return nil
	}
	containers, ok := value.([]any)
	if !ok {
		return errors.New("spec.containers must be a list")
	}
	for _, element := range containers {
		container, ok := element.(map[string]any)
		if !ok || container["name"] != containerName {
			return fmt.Errorf("spec.containers: a placeholder has one container, named %s", containerName)
		}
		if err := only(container, "spec.containers.", patchableContainer...); err != nil {
			return err
		}
	}
	return nil
}

// patched returns the pod with the pool's patch, or as it is where there is none or it can't be used. The pod must not yet have
// what a pool and a Service say of its place: lists of a patch replace those of the pod.
func patched(pod *corev1.Pod, pool *v1alpha1.VIPPool) *corev1.Pod {
	if pool == nil || absent(pool.Spec.PodTemplatePatch) || CheckPatch(pool.Spec.PodTemplatePatch) != nil {
		return pod
	}
	before, err := json.Marshal(pod)
	if err != nil {
		return pod
	}
	after, err := strategicpatch.StrategicMergePatch(before, pool.Spec.PodTemplatePatch.Raw, corev1.Pod{})
	if err != nil {
		return pod
	}
	var result corev1.Pod
	if err := json.Unmarshal(after, &result); err != nil {
		return pod
	}
	return &result
}
