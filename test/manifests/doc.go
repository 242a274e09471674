// Package manifests tests what is shipped in the manifests folder on a real kube-apiserver: that everything applies and goes
// away again, that the CRDs accept and refuse what their messages say, and that each component can do its work and nothing
// else.
//
// The control plane's programs come from the lab's cache, which builds them when they are missing.
package manifests
