/** Where the bytes of one tensor lie on the device. */
export interface Location {
  /** A device address. They have less than 53 bits. */
  readonly address: number;
  readonly byteLength: number;
  /** Where its allocation ends. What lies behind may be another, side by side with it: no copy spans two. */
  readonly end: number;
}

export type Locations = ReadonlyMap<string, Location>;

/** Bytes that go from one address to another, of the device or of pinned memory of the host. */
export interface Copy {
  readonly to: number;
  readonly from: number;
  readonly byteLength: number;
}
