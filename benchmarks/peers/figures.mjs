// The figures that decide, each with its formula.

/**
 * Compares rows of logits, ours against the peer's.
 *   NMSE = sum (ours - peer)^2 / sum peer^2, over all positions; RMS = sqrt(sum (ours - peer)^2 / count).
 * The same argmax is asked for wherever the peer's margin (best minus second) exceeds four times the RMS error.
 */
export function compareLogits(ours, peer, vocabularySize) {
  const positions = peer.length / vocabularySize;
  let squaredError = 0, squaredPeer = 0, worst = 0;
  const rows = [];
  for (let p = 0; p < positions; p++) {
    let bestOurs = 0, best = 0, second = -Infinity, rowError = 0, rowPeer = 0;
    for (let i = 0; i < vocabularySize; i++) {
      const a = ours[p * vocabularySize + i], b = peer[p * vocabularySize + i];
      rowError += (a - b) * (a - b);
      rowPeer += b * b;
      if (a > ours[p * vocabularySize + bestOurs]) bestOurs = i;
      if (i > 0 && b > peer[p * vocabularySize + best]) {
        second = peer[p * vocabularySize + best];
        best = i;
      } else if (i > 0 && b > second) {
        second = b;
      }
    }
    squaredError += rowError;
    squaredPeer += rowPeer;
    worst = Math.max(worst, rowError / rowPeer);
    rows.push({ margin: peer[p * vocabularySize + best] - second, same: bestOurs === best });
  }
  const rms = Math.sqrt(squaredError / peer.length);
  const clear = rows.filter((row) => row.margin > 4 * rms);
  return {
    nmse: squaredError / squaredPeer, worstNmse: worst, rms, positions,
    clear: clear.length, agreeClear: clear.filter((row) => row.same).length, agreeAll: rows.filter((row) => row.same).length,
  };
}

/** -log softmax(row)[id], with the maximum taken out first. */
export function negativeLogLikelihood(row, id) {
  let max = -Infinity, sum = 0;
  for (const value of row) max = Math.max(max, value);
  for (const value of row) sum += Math.exp(value - max);
  return max + Math.log(sum) - row[id];
}

/** Consecutive windows of a text, each of `window` tokens with the beginning-of-sequence token (where there is one) in front. */
export function* windowsOf(ids, window, bosId) {
  const own = bosId >= 0 ? window - 1 : window;
  for (let start = 0; start < ids.length; start += own) {
    const part = ids.slice(start, start + own);
    if (bosId >= 0) part.unshift(bosId);
    if (part.length > 1) yield part;
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
