// Which fields of a picture are to be drawn anew: the model redraws whole fields, one for each of its image codes.

export class Mask {
  #past = []; // the fields before each stroke

  constructor([rows, columns], fields = new Uint8Array(rows * columns)) {
    Object.assign(this, { rows, columns, fields });
  }

  /** All but the first rows, of which the share `keep` stays; at least one is marked, as the service has it. */
  static below(keep, [rows, columns]) {
    const kept = Math.min(Math.round(keep * rows), rows - 1);
    return new Mask([rows, columns], Uint8Array.from({ length: rows * columns }, (_, i) => Number(i >= kept * columns)));
  }

  /** Reads what `toString` wrote; null where it is something else. */
  static parse(text, grid) {
    const length = grid[0] * grid[1];
    if (!/^[0-9a-f]+$/.test(text) || text.length !== Math.ceil(length / 4)) return null;
    const bits = [...text].flatMap((digit) => [...parseInt(digit, 16).toString(2).padStart(4, "0")].map(Number));
    return new Mask(grid, Uint8Array.from(bits.slice(0, length)));
  }

  /** Its fields as bits, four to a hexadecimal digit. */
  toString() {
    const bits = [...this.fields].join("").padEnd(Math.ceil(this.fields.length / 4) * 4, "0");
    return bits.replace(/.{4}/g, (four) => parseInt(four, 2).toString(16));
  }

  get isEmpty() {
    return !this.fields.includes(1);
  }

  /** To be called before a stroke: `undo` goes back to here. */
  begin() {
    this.#past.push(this.fields.slice());
  }

  undo() {
    this.fields = this.#past.pop() ?? this.fields;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  invert() {
    this.begin();
    this.fields = this.fields.map((field) => 1 - field);
  }

  /** Marks (1) or clears (0) the fields whose middle is within half of `size` fields around a place. */
  paint(row, column, size, value) {
    const reach = Math.max(size / 2, 0.5) ** 2 + 1e-6;
    for (let r = 0; r < this.rows; r++) {
      for (let c = 0; c < this.columns; c++) {
        if ((r + 0.5 - row) ** 2 + (c + 0.5 - column) ** 2 <= reach) this.fields[r * this.columns + c] = value;
      }
    }
    const [r, c] = [Math.floor(row), Math.floor(column)]; // also where the brush is smaller than a field
    if (r >= 0 && c >= 0 && r < this.rows && c < this.columns) this.fields[r * this.columns + c] = value;
  }

  /** Calls back with the rectangle of each marked field, in a picture of this side. */
  each(side, draw) {
    const [width, height] = [side / this.columns, side / this.rows];
    this.fields.forEach((field, i) => {
      if (field) draw((i % this.columns) * width, Math.floor(i / this.columns) * height, width, height);
    });
  }
}
