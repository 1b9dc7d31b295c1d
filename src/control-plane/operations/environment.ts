import type { Clock } from '../../shared/clock.ts';
import type { Logger } from '../../shared/logger.ts';
import type { Principal } from '../access/principal.ts';
import { authenticate } from '../access/tokens.ts';
import type { Catalog } from '../database/catalog.ts';

/** What every operation needs from outside. */
export interface Environment {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
}

/** Who calls an operation, and from where. */
export interface Caller {
  readonly principal: Principal;
  readonly sourceAddress: string | null;
}

export async function identifyCaller(
  environment: Environment,
  credentials: { secret: string | undefined; sourceAddress: string | null },
): Promise<Caller> {
  const { catalog, clock } = environment;
  const principal = await authenticate(catalog, credentials.secret, clock);
  return { principal, sourceAddress: credentials.sourceAddress };
}

export const timestamp = (environment: Environment): string =>
  environment.clock.now().toISOString();
