//go:build mux

package main

import plugin "github.com/hashicorp/go-plugin"

func multiplex(config *plugin.ClientConfig) {
	config.GRPCBrokerMultiplex = true
}
