/** Releases one resource. Resolves to false if work was cut off. */
export type Release = () => Promise<boolean | undefined>;

/**
 * Releases resources in this order. A failure does not prevent the next release. Returns whether nothing failed and
 * nothing was cut off.
 */
export async function releaseInOrder(
  releases: readonly Release[],
  onError: (error: unknown) => void,
): Promise<boolean> {
  let clean = true;
  for (const release of releases) {
    try {
      if ((await release()) === false) clean = false;
    } catch (error) {
      clean = false;
      onError(error);
    }
  }
  return clean;
}
