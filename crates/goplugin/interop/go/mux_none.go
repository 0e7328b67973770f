//go:build !mux

package main

import plugin "github.com/hashicorp/go-plugin"

// A host of this release cannot ask for one socket; what happens if its plugin is told so all the same?
func multiplex(config *plugin.ClientConfig) {
	config.Cmd.Env = append(config.Cmd.Env, "PLUGIN_MULTIPLEX_GRPC=true")
}
