const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A whole number in raised digits, for powers of ten. */
export const superscript = (value: number): string =>
  String(Math.round(value)).replace("-", "⁻").replace(/\d/g, (digit) => DIGITS[Number(digit)]!);
