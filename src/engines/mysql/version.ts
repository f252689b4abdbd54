import type { TargetProblem } from '../engine.ts';

interface Version {
  major: number;
  minor: number;
}

const oldest: Version = { major: 10, minor: 6 };
const oldestWithPublic: Version = { major: 10, minor: 11 };

const isAtLeast = (version: Version, other: Version): boolean =>
  version.major !== other.major ? version.major > other.major : version.minor >= other.minor;

/** Reads what VERSION() returns. Undefined unless it is a MariaDB that this engine administers. */
export function parseVersion(text: string): Version | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)\.\d+-.*MariaDB/i.exec(text) ?? [];
  if (major === undefined || minor === undefined) return undefined;
  const version = { major: Number(major), minor: Number(minor) };
  return isAtLeast(version, oldest) ? version : undefined;
}

/** Whether the server has the role PUBLIC. */
export function hasPublicRole(version: Version): boolean {
  return isAtLeast(version, oldestWithPublic);
}

/** @param text what VERSION() returns; undefined if the server is not MariaDB */
export function versionProblem(text: string | undefined): TargetProblem {
  const needed = `MariaDB ${oldest.major}.${oldest.minor} or newer is needed`;
  return {
    problem: text === undefined ? `the server is not MariaDB; ${needed}` : `the server is ${text}; ${needed}`,
  };
}
