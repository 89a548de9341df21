// Stands in for an accelerator in tests of the bench itself: one layer whose units repeat their inputs, and
// a readout of one class that sums them over a sequence. Tokens are {value[7:0], index[3:0], kind[1:0]}.
// An event with index 15 is an order to misbehave from then on; its value says how.
module accelerator (
    input logic clk,
    input logic rst,
    input logic [13:0] events__payload,
    input logic events__valid,
    output logic events__ready,
    output logic [22:0] logits__payload,
    output logic logits__valid,
    input logic logits__ready,
    output logic tap0__strobe,
    output logic [13:0] tap0__token
);
    localparam logic [1:0] EVENT = 0, END = 2;
    localparam logic [7:0] HANG = 1, WAVER = 2, LOSE = 3;
    typedef enum logic [1:0] {TAKE, ANSWER, CLOSE, HUNG} state_t;
    state_t state = TAKE;
    logic signed [19:0] sum = 0;
    logic [7:0] fault = 0;
    logic toggle = 0;

    wire [7:0] value = events__payload[13:6];
    wire order = events__payload[1:0] == EVENT && events__payload[5:2] == 15;
    assign events__ready = state == TAKE;
    assign logits__valid = state == ANSWER || state == CLOSE;
    assign logits__payload = state == ANSWER ? {sum ^ 20'(toggle), 1'b0, EVENT} : {20'b0, 1'b0, END};
    assign tap0__strobe = events__valid && events__ready && !(order && value == LOSE);
    assign tap0__token = events__payload;

    always_ff @(posedge clk) begin
        toggle <= fault == WAVER && !toggle;
        if (rst) begin
            state <= TAKE;
            sum <= 0;
        end else if (events__valid && events__ready) begin
            if (events__payload[1:0] == EVENT) sum <= sum + 20'($signed(value));
            if (events__payload[1:0] == END) state <= ANSWER;
            if (order) fault <= value;
            if (order && value == HANG) state <= HUNG;
        end else if (logits__valid && logits__ready) begin
            if (state == ANSWER) state <= CLOSE;
            else begin
                state <= TAKE;
                sum <= 0;
            end
        end
    end
endmodule
