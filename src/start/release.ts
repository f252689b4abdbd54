/** Releases one thing; false: something of it had to be cut off. */
export type Release = () => Promise<boolean | undefined>;

/**
 * Releases one after the other, in this order; one that fails keeps none of the others from it. Answers whether nothing
 * failed and nothing was cut off.
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
