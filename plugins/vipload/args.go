package vipload

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	configv1 "k8s.io/kube-scheduler/config/v1"
	schedconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	schedscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/utils/ptr"
)

// argsKind is the kind under which the scheduler looks for the plugin's arguments: always the plugin's name and "Args".
const argsKind = Name + "Args"

// VIPLoadArgs are the plugin's arguments, defaulted and converted.
type VIPLoadArgs struct {
	metav1.TypeMeta

	// IgnoreExcludeLabel places VIPs on nodes labelled node.kubernetes.io/exclude-from-external-load-balancers too. For
	// clusters whose installer puts the label on control planes (kubeadm, Talos) that shall announce all the same.
	IgnoreExcludeLabel bool
}

// DeepCopyObject implements runtime.Object.
func (in *VIPLoadArgs) DeepCopyObject() runtime.Object {
	out := *in
	return &out
}

// versionedArgs are the arguments as written in a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1).
type versionedArgs struct {
	metav1.TypeMeta `json:",inline"`

	IgnoreExcludeLabel *bool `json:"ignoreExcludeLabel,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (in *versionedArgs) DeepCopyObject() runtime.Object {
	out := *in
	if in.IgnoreExcludeLabel != nil {
		out.IgnoreExcludeLabel = ptr.To(*in.IgnoreExcludeLabel)
	}
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
	})
	if err := s.AddConversionFunc((*versionedArgs)(nil), (*VIPLoadArgs)(nil), func(a, b any, _ conversion.Scope) error {
		b.(*VIPLoadArgs).IgnoreExcludeLabel = ptr.Deref(a.(*versionedArgs).IgnoreExcludeLabel, false)
		return nil
	}); err != nil {
		return err
	}
	return s.AddConversionFunc((*VIPLoadArgs)(nil), (*versionedArgs)(nil), func(a, b any, _ conversion.Scope) error {
		b.(*versionedArgs).IgnoreExcludeLabel = ptr.To(a.(*VIPLoadArgs).IgnoreExcludeLabel)
		return nil
	})
}
