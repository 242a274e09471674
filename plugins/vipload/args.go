package vipload

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	schedconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	schedscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/load"
)

// argsKind is the kind under which the scheduler looks for the plugin's arguments: always the plugin's name and "Args".
const argsKind = Name + "Args"

// VIPLoadArgs are the plugin's arguments, defaulted and converted.
type VIPLoadArgs struct {
	metav1.TypeMeta

	// IgnoreExcludeLabel places VIPs on nodes labelled node.kubernetes.io/exclude-from-external-load-balancers too. For
	// clusters whose installer puts the label on control planes (kubeadm, Talos) that shall announce all the same.
	IgnoreExcludeLabel bool
	// Criteria by which nodes are compared, the most important first.
	Criteria []load.Criterion
}

// DeepCopyObject implements runtime.Object.
func (in *VIPLoadArgs) DeepCopyObject() runtime.Object {
	out := *in
	out.Criteria = slices.Clone(in.Criteria)
	return &out
}

// versionedArgs are the arguments as written in a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1).
type versionedArgs struct {
	metav1.TypeMeta `json:",inline"`

	IgnoreExcludeLabel *bool            `json:"ignoreExcludeLabel,omitempty"`
	Criteria           []load.Criterion `json:"criteria,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (in *versionedArgs) DeepCopyObject() runtime.Object {
	out := *in
	if in.IgnoreExcludeLabel != nil {
		out.IgnoreExcludeLabel = ptr.To(*in.IgnoreExcludeLabel)
	}
	out.Criteria = slices.Clone(in.Criteria)
	return &out
}

// The arguments must be known to the scheduler's own schemes, or they'd be handed over as raw JSON whose typing errors
// nobody sees. Both builders are asked, as the scheduler makes a second scheme of them for defaulting and conversion; the
// first one was built in its package's init, before ours, hence it is extended here.
func init() {
	schedconfig.SchemeBuilder.Register(func(s *runtime.Scheme) error {
		s.AddKnownTypeWithName(schedconfig.SchemeGroupVersion.WithKind(argsKind), &VIPLoadArgs{})
		return nil
	})
	configv1.SchemeBuilder.Register(addVersionedArgs)
	schedscheme.AddToScheme(schedscheme.Scheme)
}

func addVersionedArgs(s *runtime.Scheme) error {
	s.AddKnownTypeWithName(configv1.SchemeGroupVersion.WithKind(argsKind), &versionedArgs{})
	s.AddTypeDefaultingFunc(&versionedArgs{}, func(obj any) {
		args := obj.(*versionedArgs)
		if args.IgnoreExcludeLabel == nil {
			args.IgnoreExcludeLabel = ptr.To(false)
		}
		if args.Criteria == nil { // an empty list is a mistake, not an absent one
			args.Criteria = load.DefaultCriteria()
		}
	})
	if err := s.AddConversionFunc((*versionedArgs)(nil), (*VIPLoadArgs)(nil), func(a, b any, _ conversion.Scope) error {
		from, to := a.(*versionedArgs), b.(*VIPLoadArgs)
		to.IgnoreExcludeLabel, to.Criteria = ptr.Deref(from.IgnoreExcludeLabel, false), from.Criteria
		return load.ValidateCriteria(from.Criteria, field.NewPath("criteria")).ToAggregate()
	}); err != nil {
		return err
	}
	return s.AddConversionFunc((*VIPLoadArgs)(nil), (*versionedArgs)(nil), func(a, b any, _ conversion.Scope) error {
		from, to := a.(*VIPLoadArgs), b.(*versionedArgs)
		to.IgnoreExcludeLabel, to.Criteria = ptr.To(from.IgnoreExcludeLabel), from.Criteria
		return nil
	})
}
