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
// Start brings a Cluster up. Probes (whohas.go, asker.go, prober.go, requester.go,
// http.go), traffic (payload.go, flood.go), faults and records (addrrecord.go,
// portcount.go, packets.go, audit.go) are what tests, benchmarks and the demo use.
//
// Everything on a node reaches the API server over the segment: who is cut off
// from the one is cut off from the other. Faults are power losses, cut ports and
// flushed addresses (faults.go), machines that stand still (pause.go), a segment
// in two parts (split.go), frames that are lost and late (impair.go, relay.go:
// without netem, which kernels may lack), ports that are silent now and then
// (flicker.go), busy cores (burn.go), a slow API server (slowapi.go), switches
// that suppress neighbour packets (suppress.go) or filter ARP (arpfilter.go), and
// machines that claim what isn't theirs (foreign.go).
package lab
