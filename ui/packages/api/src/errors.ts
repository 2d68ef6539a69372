import type { ApiError, ErrorCode } from './gen/types';

/** A call that failed, in the one error shape of the product. */
export class ApiFailure extends Error {
  /** What happened and what to do. */
  readonly error: ApiError;
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;

  constructor(error: ApiError, status: number) {
    super(error.message);
    this.name = 'ApiFailure';
    this.error = error;
    this.status = status;
  }

  /** True when the call was understood and not allowed: never to be drawn as "none". */
  get refused(): boolean {
    return this.error.code === 'unauthenticated' || this.error.code === 'forbidden';
  }

  /** True when nobody answered. */
  get unreachable(): boolean {
    return this.error.code === 'supervisor_unreachable';
  }
}

function fallbackCode(status: number): ErrorCode {
  if (status === 0) return 'supervisor_unreachable';
  if (status === 400 || status === 422) return 'bad_request';
  if (status === 401) return 'unauthenticated';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'not_found';
  if (status === 409) return 'conflict';
  if (status === 408 || status === 504) return 'timeout';
  return 'internal';
}

/** Reads an error answer; what is not in the one shape is put into it. */
export function failureFromBody(status: number, body: string): ApiFailure {
  try {
    const parsed: unknown = JSON.parse(body);
    if (parsed && typeof parsed === 'object' && 'code' in parsed && 'message' in parsed) {
      const { code, message, hint, details } = parsed as Partial<ApiError>;
      return new ApiFailure(
        {
          code: code ?? fallbackCode(status),
          message: String(message),
          hint: hint ?? '',
          details: details ?? null,
        },
        status,
      );
    }
  } catch {
    // Not ours: described by its status below.
  }
  return new ApiFailure({ code: fallbackCode(status), message: `HTTP ${status}`, hint: '' }, status);
}

/** Any thrown value as a failure. An aborted call is `cancelled`, a network error `supervisor_unreachable`. */
export function toFailure(thrown: unknown): ApiFailure {
  if (thrown instanceof ApiFailure) return thrown;
  if (thrown instanceof DOMException && thrown.name === 'AbortError') {
    return new ApiFailure({ code: 'cancelled', message: thrown.message, hint: '' }, 0);
  }
  if (thrown instanceof DOMException && thrown.name === 'TimeoutError') {
    return new ApiFailure({ code: 'timeout', message: thrown.message, hint: '' }, 0);
  }
  // The window's shell rejects with the error itself.
  if (
    thrown &&
    typeof thrown === 'object' &&
    !(thrown instanceof Error) &&
    'code' in thrown &&
    'message' in thrown
  ) {
    const { code, message, hint, details } = thrown as ApiError;
    return new ApiFailure({ code, message: String(message), hint: hint ?? '', details: details ?? null }, 0);
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code: ErrorCode = thrown instanceof TypeError ? 'supervisor_unreachable' : 'internal';
  return new ApiFailure({ code, message, hint: '' }, 0);
}
