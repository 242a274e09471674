// Package segments holds tests of how the announcer's parts work together on a node with several NICs, on a real kernel.
package segments
