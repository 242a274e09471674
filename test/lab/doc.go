// Package lab builds a real Kubernetes cluster on one machine, out of network
// namespaces, without touching the machine's own network.
//
// It runs etcd, kube-apiserver (RBAC, Node authorisation, audit log) and
// kube-controller-manager in a control plane namespace; N nodes, each a
// namespace of its own with one NIC on a common bridge, a kubelet played by
// kwok, a real kube-proxy and room for a real announcer; behind every node a
// namespace whose whole pod range answers HTTP with the node's name; a client
// on the segment, a router, and a client behind the router.
//
//	            lab's own namespace: the switch (bridge "segment")
//	   ┌──────────┬──────────┬───────────┬───────────┬──────────┐
//	 router    control-    client      node-1      node-2     foreign
//	   .1      plane .2      .3         .101        .102      machines
//	   │          │                      │           │
//	far-client   etcd, API            kwok, kube-proxy, announcer
//	             server, …               │
//	                                 node-1-pods: 10.244.1.0/24
//
// A program calls Enter first of all: it re-executes itself inside fresh PID,
// network and mount namespaces (and a user namespace, if it isn't root), so
// that everything vanishes when the program ends, is killed or crashes. Then
// Start brings a Cluster up. Probes (arp.go, nd.go, prober.go, http.go),
// faults (faults.go, foreign.go) and records (addrrecord.go, audit.go) are what
// tests, benchmarks and the demo use.
package lab
