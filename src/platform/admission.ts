export interface AdmissionOptions {
  /** So many are inside at most: of all, and of one key. */
  most: number;
  mostOfOne: number;
  /** Thrown at who comes when as many are inside. */
  full: Error;
}

export interface Admission {
  /** Lets in, before anything is done that costs; who was let in calls what this answers when done, once. Throws `full`. */
  enter(key: string): () => void;
}

/** Bounds how many do something at a time that takes long, so that those who do it can finish. */
export function createAdmission({ most, mostOfOne, full }: AdmissionOptions): Admission {
  const inside = new Map<string, number>();
  let all = 0;
  return {
    enter(key) {
      const ofOne = inside.get(key) ?? 0;
      if (all >= most || ofOne >= mostOfOne) throw full;
      all += 1;
      inside.set(key, ofOne + 1);
      return () => {
        all -= 1;
        const left = (inside.get(key) ?? 1) - 1;
        if (left === 0) inside.delete(key);
        else inside.set(key, left);
      };
    },
  };
}
