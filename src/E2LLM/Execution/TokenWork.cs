namespace E2LLM.Execution;

/// <summary>Work that is done row by row, each row by itself: one task a token.</summary>
internal abstract class TokenWork(WorkerPool pool) : IWork
{
    /// <summary>Does the work for tokens <c>[0, tokens)</c>.</summary>
    protected void RunTokens(int tokens) => pool.Run(this, tokens);

    /// <summary>Does the work of one token.</summary>
    protected abstract void RunToken(int token);

    void IWork.Run(int task, int worker) => RunToken(task);
}
