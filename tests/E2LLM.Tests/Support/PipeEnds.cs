using System.IO.Pipelines;
using E2LLM.Replicas.Connections;

namespace E2LLM.Tests.Support;

/// <summary>One end of a connection in memory.</summary>
internal sealed record PipeEnds(PipeReader Input, PipeWriter Output) : IDuplexPipe
{
    /// <summary>Both ends of a new connection.</summary>
    public static (PipeEnds Near, PipeEnds Far) Connect(PipeOptions? options = null)
    {
        Pipe there = new(options ?? PipeOptions.Default), back = new(options ?? PipeOptions.Default);
        return (new PipeEnds(back.Reader, there.Writer), new PipeEnds(there.Reader, back.Writer));
    }

    /// <summary>This end as a stream.</summary>
    public Stream ToStream() => new DuplexPipeStream(this);
}
