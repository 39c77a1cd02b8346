// Package api serves Retombées over HTTP: routes, what a request may say, wire
// types, problem documents.
//
// A handler reads like its summary: decode, check, do, answer. It is a method
// of server that takes a *call (one request with its caller, language and
// format) and returns an error; problem.go alone turns errors into HTTP, and
// routes.go alone says which routes exist, who may call them, which parameters
// they know and which media types they produce.
package api
